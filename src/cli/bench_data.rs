//! `amcl-wgpu bench data`: images a second by stage, and what bounds a training.

use super::console::OutputOptions;
use super::number::within;
use amcl_wgpu::bench::Effort;
use amcl_wgpu::bench::data::{self, DataReport};
use amcl_wgpu::config::chosen;
use amcl_wgpu::data::survey::survey;
use amcl_wgpu::device::Choice;
use amcl_wgpu::settings::above;
use amcl_wgpu::train::Config;
use amcl_wgpu::train::session::open_executor;

/// Times how images come from a data set, stage by stage, beside the training step that wants them
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Data as `train` takes them.
    data: String,
    /// The built-in configuration whose step takes the images; default: the one that `train` would choose.
    #[arg(long)]
    preset: Option<String>,
    /// auto, cpu, gpu, gpu:N or part of an adapter's name.
    #[arg(long, default_value = "auto")]
    device: Choice,
    /// Any setting, as `train` takes it: --set data.threads=4
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Seconds per row.
    #[arg(long, default_value_t = 3.0, value_parser = within::<f64>(above(0.0).to(3600.0)))]
    seconds: f64,
}

impl Args {
    /// The configuration, with this many threads and nothing kept in memory.
    fn config(&self, threads: Option<usize>) -> anyhow::Result<Config> {
        let chosen = match &self.preset {
            Some(name) => name.clone(),
            None => match survey(&self.data)? {
                Some(found) => chosen::choose(&found, &self.set)?.preset.to_string(),
                None => "quickstart".into(),
            },
        };
        let path = toml::Value::String(self.data.clone());
        let mut set = self.set.clone();
        set.extend([format!("data.path={path}"), "data.memory_mib=0".into()]);
        set.extend(threads.map(|n| format!("data.threads={n}")));
        // The step takes its images from the host, as it does in a training on such data.
        set.push("data.resident_mib=0".into());
        Ok(Config::parse(Config::preset(&chosen)?, &set)?)
    }
}

/// Runs the verb.
///
/// # Errors
/// Data that cannot be read, no such device.
pub fn run(args: &Args, options: OutputOptions) -> anyhow::Result<()> {
    let console = options.console();
    let line = |text: &str| console.say(text);
    let all = match args.config(None)?.data.threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        n => n,
    };
    let mut report = DataReport::default();
    let mut counts = vec![1];
    counts.extend((all > 1).then_some(all));
    let mut opened = None;
    for threads in counts {
        let config = args.config(Some(threads))?;
        let split =
            config.open_data(&|done, all| console.progress(done, all, "decoding images"))?;
        if opened.is_none() {
            report.data = split.description.clone();
            report.side = split.train.height;
            line(&report.data);
        }
        if !split.train.resident() {
            let (rate, spent) = data::reading(&split.train, args.seconds)?;
            if threads == 1 {
                report.stages(spent);
                line(&format!("of one thread, {} images:", report.read_images));
                for (stage, rate) in [
                    ("read", report.read),
                    ("decode", report.decode),
                    ("resize", report.resize),
                ] {
                    line(&format!("  {stage:28} {rate:10.0} images/s"));
                }
            }
            line(&format!(
                "  all, {threads:3} thread(s)           {rate:10.0} images/s"
            ));
            report.threads.push((threads, rate));
            for fault in split.train.new_faults() {
                console.warn(&fault);
            }
        }
        opened = Some((config, split));
    }
    let Some((config, split)) = opened else {
        return Ok(());
    };
    let batch = config.optim.batch_size.min(split.train.len());
    let first = split
        .train
        .select(&(0..batch).collect::<Vec<usize>>())
        .loaded()?;
    let exec = || {
        open_executor(&args.device, &[], config.optim.precision, |l| {
            console.warn(&l);
        })
    };
    let mut device = exec()?;
    report.device = device.name();
    (report.upload, report.views) = data::device(&config, device.as_mut(), &first, args.seconds)?;
    line(&format!("{}:", report.device));
    line(&format!(
        "  sending                      {:10.0} images/s",
        report.upload
    ));
    line(&format!(
        "  making two views of each     {:10.0} images/s",
        report.views
    ));
    let effort = Effort {
        warm: 1,
        warm_seconds: 0.0,
        runs: 100,
        seconds: args.seconds,
    };
    report.step = data::training(&config, exec()?, &first, effort)?;
    line(&format!(
        "  training step, {} a step  {:10.0} images/s",
        config.optim.batch_size, report.step
    ));
    console.result(&report.verdict(), &serde_json::to_value(&report)?);
    Ok(())
}
