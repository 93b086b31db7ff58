//! `amcl-wgpu eval finetune`.

use super::super::console::Console;
use super::super::opened::On;
use super::source::Source;
use super::{draw, labelled};
use amcl_wgpu::config::Precision;
use amcl_wgpu::downstream::finetune::{Setting, finetune};
use amcl_wgpu::run::weights;
use amcl_wgpu::train::session::open_executor;
use serde_json::json;

/// Runs the protocol.
///
/// # Errors
/// No such run, data without labels, the device.
pub fn run(on: &On, fractions: &[f64], s: &Setting, console: &Console) -> anyhow::Result<()> {
    anyhow::ensure!(
        s.lr.is_finite()
            && s.lr > 0.0
            && s.weight_decay.is_finite()
            && fractions.iter().all(|f| *f > 0.0 && *f <= 1.0),
        "--lr must be positive, --weight-decay finite, --fractions from 0 to 1"
    );
    let found = weights::of_run(&on.run, |w| console.warn(&w))?;
    let mut config = found.config.clone();
    config.data.path = on.data.clone().unwrap_or(config.data.path);
    let split = config.open_data(&|done, all| console.progress(done, all, "decoding images"))?;
    labelled(&split)?;
    let (bank, classes) = (split.bank(), split.classes.len());
    let (mut lines, mut rows) = (Vec::new(), Vec::new());
    for fraction in fractions {
        let share = |of: usize| (of as f64 * fraction).round().max(1.0) as usize;
        let ids = draw(&bank.labels, classes, share, s.seed);
        let mut exec = open_executor(&on.device, &[], Precision::F32, |_| ())?;
        let top1 = finetune(
            &config,
            &found.weights,
            s,
            (bank, &ids),
            &split.test,
            classes,
            exec.as_mut(),
            &|done, all| console.progress(done, all, "epochs of fine-tuning"),
        )?;
        lines.push(format!(
            "{:5.1} % of the labels ({} images): top-1 {top1:.2} %",
            100.0 * fraction,
            ids.len()
        ));
        rows.push(json!({"fraction": fraction, "images": ids.len(), "top1": top1}));
    }
    let text = format!(
        "{}\n{}, encoder after epoch {}",
        lines.join("\n"),
        s.describe(),
        found.at.epoch
    );
    let source = Source {
        on,
        data: &split.description,
        seed: s.seed,
        epoch: found.at.epoch,
    };
    let value = source.write("finetune", &s.describe(), json!({"finetune": rows}))?;
    console.result(&text, &value);
    Ok(())
}
