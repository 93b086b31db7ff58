//! `amcl-wgpu eval similarity`.

use super::super::console::Console;
use super::super::opened::On;
use super::finish;
use amcl_wgpu::train::config::Precision;
use amcl_wgpu::train::session::open_executor;
use amcl_wgpu::train::similarity::similarity;
use amcl_wgpu::train::weights;
use serde_json::json;

/// Runs the protocol.
///
/// # Errors
/// No such run, data without labels, the device.
pub fn run(
    on: &On,
    pairs: usize,
    families: &[String],
    seed: u64,
    console: &Console,
) -> anyhow::Result<()> {
    let found = weights::of_run(&on.run, |w| console.warn(&w))?;
    let mut config = found.config.clone();
    config.data.path = on.data.clone().unwrap_or(config.data.path);
    let split = config.open_data(&|done, all| console.progress(done, all, "decoding images"))?;
    let own = vec![config.augment.families.clone()];
    let (mut lines, mut rows) = (Vec::new(), Vec::new());
    for letters in if families.is_empty() { &own } else { families } {
        let mut policy = config.augment.clone();
        policy.families = letters.clone();
        policy.validate().map_err(anyhow::Error::msg)?;
        let mut exec = open_executor(&on.device, &[], Precision::F32, |_| ())?;
        let scores = similarity(&found, &split.test, &policy, pairs, seed, exec.as_mut())?;
        lines.push(format!("augmentation {letters}"));
        for s in &scores {
            lines.push(format!(
                "  {:32} positive {:6.3}  negative {:6.3}  overlap {:5.1} %",
                s.of, s.positive, s.negative, s.overlap
            ));
        }
        rows.push(json!({"families": letters, "scores": scores}));
    }
    let n = pairs.min(split.test.len());
    let protocol = format!(
        "{n} positive pairs (two views of a test image) and {n} negative pairs, seed {seed}; cosines; bins of 0.06 from -0.2; scaled: mean over heads of s t / tau, t the head's mean temperature"
    );
    let text = format!("{}\n{protocol}", lines.join("\n"));
    let value = json!({"similarity": rows, "protocol": protocol, "epoch": found.at.epoch});
    finish(console, &on.run, "similarity", &text, &value)
}
