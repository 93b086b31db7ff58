//! `amcl-wgpu train`.

use super::console::{Console, OutputOptions};
use super::launch::Rank;
use amcl_wgpu::config::{Config, chosen};
use amcl_wgpu::data::survey::survey;
use amcl_wgpu::device::Choice;
use amcl_wgpu::methods::{METHODS, Spec};
use amcl_wgpu::report::{self, Page};
use amcl_wgpu::run::claim;
use amcl_wgpu::run::environment::Planned;
use amcl_wgpu::run::event::Event;
use amcl_wgpu::train::{Outcome, TrainError, Trainer};
use anyhow::Context;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};

/// The methods with a line each, for help.
fn methods() -> String {
    let line = |m: &&Spec| format!("{}: {}", m.name, m.help);
    let all: Vec<String> = METHODS.iter().map(line).collect();
    format!(
        "Method; the presets hold each one's recipe.\n{}",
        all.join("\n")
    )
}

/// Pre-trains an encoder. Without arguments: a two-minute run on generated images.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Configuration file (TOML).
    #[arg(long, conflicts_with = "preset")]
    config: Option<PathBuf>,
    /// A built-in configuration; `amcl-wgpu presets` lists them, for every method and data set. Without one, the images
    /// of --data choose it by their size and number, and the first lines say which and why.
    #[arg(long)]
    preset: Option<String>,
    /// `shapes`, or a folder: images (train/ and test/, a folder a class, or flat), tar or parquet files, CIFAR,
    /// STL-10 or MNIST files.
    #[arg(long)]
    data: Option<String>,
    #[arg(long, help = methods())]
    method: Option<String>,
    /// Train with the AMCL loss.
    #[arg(long)]
    amcl: bool,
    /// auto, cpu, gpu, gpu:N or part of an adapter's name.
    #[arg(long, default_value = "auto")]
    device: Choice,
    /// Train on several devices of this machine together, each with its share of every batch: gpu:0,gpu:1.
    #[arg(long, value_delimiter = ',', conflicts_with_all = ["device", "plan"])]
    devices: Vec<Choice>,
    /// Parts of a batch that each of several ranks has: 3,1 for one that is three times as fast as the other. auto: by
    /// timing some steps of each.
    #[arg(long, conflicts_with_all = ["resume", "plan"])]
    shares: Option<Shares>,
    /// Under mpirun, ranks of one machine may have one device together.
    #[arg(long)]
    share_device: bool,
    /// Epochs.
    #[arg(long)]
    epochs: Option<usize>,
    /// Images per step.
    #[arg(long)]
    batch_size: Option<usize>,
    /// Seed.
    #[arg(long)]
    seed: Option<u64>,
    /// f32, or mixed: f16 for the encoder's activations and products; f32 for sums, losses and the
    /// optimiser's states.
    #[arg(long, value_parser = ["f32", "mixed"])]
    precision: Option<String>,
    /// Run folder; default runs/<preset>-<seed>, numbered when taken.
    #[arg(long, short)]
    out: Option<PathBuf>,
    /// Replace the run in the folder. It is removed when the new one has saved its first checkpoint.
    #[arg(long)]
    overwrite: bool,
    /// Before training, time every kernel of one step: a table, and trace.json for Perfetto; steps.json has what the
    /// host does for the first steps.
    #[arg(long)]
    profile: bool,
    /// On a GPU, take the tiles of products and convolutions from a table. Without this flag the first run
    /// times them and keeps the result for later runs.
    #[arg(long)]
    no_autotune: bool,
    /// Run the ops of these names on the host by their reference (slow; to bisect a fault on a GPU).
    #[arg(long, value_name = "OP")]
    twin: Vec<String>,
    /// Continue the run in this folder, with its own configuration.
    #[arg(long, conflicts_with_all = [
        "config", "preset", "data", "method", "amcl", "init", "epochs", "batch_size", "seed", "precision", "out", "set",
        "overwrite",
    ])]
    resume: Option<PathBuf>,
    /// Start a new run from these weights: a run folder, a folder that `export` wrote, or a safetensors file
    /// of torchvision's or timm's ResNet.
    #[arg(long, conflicts_with = "resume")]
    init: Option<PathBuf>,
    /// Print how much memory the run would take, and stop: nothing is allocated, and no folder is made.
    #[arg(long, conflicts_with_all = ["resume", "out", "profile"])]
    plan: bool,
    /// Write no report page.
    #[arg(long)]
    no_report: bool,
    /// Override any setting: --set optim.lr=0.1
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// What is said of shares.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Shares {
    Auto,
    Given(Vec<usize>),
}

impl Shares {
    /// The numbers, as a setting has them.
    fn given(&self) -> Option<String> {
        match self {
            Self::Auto => None,
            Self::Given(all) => Some(format!("{all:?}")),
        }
    }
}

impl FromStr for Shares {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let numbers: Option<Vec<usize>> = text.split(',').map(|n| n.trim().parse().ok()).collect();
        numbers
            .filter(|all| !all.contains(&0))
            .map(Self::Given)
            .ok_or_else(|| "auto, or a number of at least 1 for each rank: 3,1".into())
    }
}

/// Set by Ctrl-C, SIGTERM or SIGHUP. A training that sees it saves and ends.
pub static STOP: AtomicBool = AtomicBool::new(false);

/// Sets [`STOP`] on Ctrl-C, SIGTERM and SIGHUP.
///
/// # Errors
/// The system refuses.
pub fn catch_signals() -> anyhow::Result<()> {
    Ok(ctrlc::set_handler(|| {
        // A second Ctrl-C ends the program at once.
        if STOP.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    })?)
}

impl Args {
    /// The run's configuration, its folder, and what is to be said of how the configuration came about.
    fn plan(&self, rank: &Rank) -> anyhow::Result<(Config, PathBuf, Vec<String>)> {
        if let Some(folder) = &self.resume {
            // Rank 0 alone writes the folder.
            let mended = first(rank, || claim::mend(folder))?;
            if let Some(note) = mended.flatten() {
                errln!("{note}");
            }
            let text = std::fs::read_to_string(folder.join("config.toml"))
                .with_context(|| format!("{} is no run folder", folder.display()))?;
            return Ok((Config::parse(&text, &[])?, folder.clone(), Vec::new()));
        }
        let mut over = self.overrides();
        let mut notes = Vec::new();
        let mut preset = self.preset.as_deref().unwrap_or("quickstart");
        if self.preset.is_none()
            && self.config.is_none()
            && let Some(found) = self.data.as_deref().map(survey).transpose()?.flatten()
        {
            let chosen = chosen::choose(&found, &over)?;
            (preset, notes) = (chosen.preset, vec![chosen.why]);
            over = [chosen.settings, over].concat();
        }
        let (name, text) = match &self.config {
            Some(p) => {
                let text = std::fs::read_to_string(p)
                    .with_context(|| format!("cannot read {}", p.display()))?;
                let stem = p.file_stem().map(|s| s.to_string_lossy().into_owned());
                (stem.unwrap_or_else(|| preset.into()), text)
            }
            None => (preset.to_string(), Config::preset(preset)?.to_string()),
        };
        let config = Config::parse(&text, &over)?;
        // A file of the user's own that contradicts itself; a preset may be cut short by a flag.
        if self.config.is_some()
            && !over
                .iter()
                .any(|o| o.trim_start().starts_with("run.epochs"))
        {
            config.warms_up(|_| true)?;
        }
        notes.extend(chosen::only_a_trial(&config));
        let out = match &self.out {
            Some(out) => out.clone(),
            None if self.plan => PathBuf::new(),
            None => {
                let name = format!("{name}-{}", config.run.seed);
                numbered(rank, &name)?
            }
        };
        Ok((config, out, notes))
    }

    /// The settings that the flags stand for, then those of `--set`, which win.
    fn overrides(&self) -> Vec<String> {
        let quoted = |v: &Option<String>| v.clone().map(|v| toml::Value::String(v).to_string());
        let flags = [
            ("data.path", quoted(&self.data)),
            ("method.name", quoted(&self.method)),
            ("amcl.enabled", self.amcl.then(|| "true".into())),
            ("run.epochs", self.epochs.map(|v| v.to_string())),
            ("optim.batch_size", self.batch_size.map(|v| v.to_string())),
            ("run.seed", self.seed.map(|v| v.to_string())),
            ("optim.precision", quoted(&self.precision)),
            ("dist.shares", self.shares.as_ref().and_then(Shares::given)),
        ];
        let given = |(key, v): (&str, Option<String>)| Some(format!("{key}={}", v?));
        let mut over: Vec<String> = flags.into_iter().filter_map(given).collect();
        over.extend(self.set.iter().cloned());
        over
    }
}

/// What rank 0 does for all: none on the others.
fn first<T>(
    rank: &Rank,
    act: impl FnOnce() -> amcl_wgpu::run::Result<T>,
) -> anyhow::Result<Option<T>> {
    let made = rank.world.is_first().then(act).transpose();
    Ok(rank
        .world
        .agreed("folder", made.map_err(TrainError::from))?)
}

/// A new folder of this name in `runs`, the same for all ranks.
fn numbered(rank: &Rank, name: &str) -> anyhow::Result<PathBuf> {
    let made = first(rank, || claim::numbered(Path::new("runs"), name))?;
    match made {
        Some(path) if rank.world.is_alone() => Ok(path),
        made => {
            let own = || made.map_or(Vec::new(), |p| p.to_string_lossy().as_bytes().to_vec());
            let path = rank.world.from_first("folder's name", own)?;
            Ok(String::from_utf8_lossy(&path).into_owned().into())
        }
    }
}

/// Runs the verb; false when interrupted.
///
/// # Errors
/// Anything that keeps the run from its end.
pub fn run(args: &Args, output: OutputOptions) -> anyhow::Result<bool> {
    let rank = Rank::join()?;
    let done = trained(args, output, &rank);
    if let Err(e) = &done {
        rank.world.leave(&e.to_string());
    }
    done
}

/// As [`run`], as one rank.
fn trained(args: &Args, output: OutputOptions, rank: &Rank) -> anyhow::Result<bool> {
    let (config, out, mut notes) = args.plan(rank)?;
    let (device, said) = rank.device(&args.device, args.share_device)?;
    notes.extend(said);
    catch_signals()?;
    let console = output.console();
    if args.plan && !rank.world.is_first() {
        return Ok(true);
    }
    if args.plan {
        let trainer = Trainer::new(config).device(device);
        let trainer = trainer.notes(notes).init(args.init.clone());
        let trainer = trainer.on_event(|e| console.event(e));
        let planned = trainer.plan()?;
        let text = format!("{}; nothing was allocated", work(&planned));
        console.result(&text, &json!(planned));
        return Ok(true);
    }
    let mut page = (!args.no_report && rank.world.is_first()).then(|| Page::of(&out));
    let mut last = None;
    let outcome = Trainer::new(config)
        .device(device)
        .devices(args.devices.clone())
        .rank(rank.world.clone())
        .time_shares(args.shares == Some(Shares::Auto))
        .out(&out)
        .resume(args.resume.is_some())
        .overwrite(args.overwrite)
        .profile(args.profile)
        .autotune(!args.no_autotune)
        .twins(args.twin.clone())
        .notes(notes)
        .init(args.init.clone())
        .stop(&STOP)
        .on_event(|event| {
            console.event(event);
            // The last two: the page says how the run ended, and no longer waits for more.
            if matches!(
                event,
                Event::Epoch(_) | Event::Stopped { .. } | Event::Failed(_)
            ) && let Some(Err(e)) = page.as_mut().map(Page::write)
            {
                // A page that cannot be written does not stop a run.
                console.warn(&format!("report: {e}"));
            }
        })
        .at_end(|session, split| {
            if !args.no_report {
                last = Some(report::write(&out, Some((session, split))));
            }
        })
        .run();
    let writes = rank.world.is_first();
    if outcome.is_err() && writes && args.resume.is_none() && args.out.is_none() {
        // The numbered folder was made for this run. It goes only if it is empty.
        let _ = std::fs::remove_dir(&out);
    }
    let outcome = outcome?;
    if outcome.finished && writes {
        let page = match last {
            Some(Ok(path)) => Some(path.display().to_string()),
            Some(Err(e)) => {
                console.warn(&format!("report: {e}"));
                None
            }
            None => None,
        };
        finished(&out, &outcome, page, &console);
    }
    Ok(outcome.finished)
}

/// How much a run computes, and how that becomes a time.
pub fn work(planned: &Planned) -> String {
    let (step, steps) = (planned.step_flops / 1e12, planned.steps as f64);
    format!(
        "work: {} steps of {step:.3} TFLOP (products and convolutions), {:.1} h at 1 TFLOP/s: divide by the rate of a \
         training step that `amcl-wgpu bench` measures on the device",
        planned.steps,
        step * steps / 3600.0
    )
}

/// Says how the run ended, where its report is, and what to do next.
fn finished(out: &Path, outcome: &Outcome, page: Option<String>, console: &Console) {
    let mut text = match (outcome.trained, outcome.untrained) {
        (Some(a), Some(b)) => format!("kNN {a:.1} % (untrained {b:.1} %)"),
        _ => "done".into(),
    };
    text += &format!(
        " after {:.0} s; weights {}\nrun folder: {}",
        outcome.seconds,
        &outcome.weights[..16],
        out.display()
    );
    if let Some(page) = &page {
        text += &format!("\nreport: {page}");
    }
    text += &format!(
        "\nnext: amcl-wgpu eval knn {0}    amcl-wgpu export {0} -o exported    amcl-wgpu train --data FOLDER",
        out.display()
    );
    console.result(
        &text,
        &json!({
            "knn_top1": outcome.trained, "knn_top1_untrained": outcome.untrained, "seconds": outcome.seconds,
            "weights_sha256": outcome.weights, "run": out.display().to_string(), "report": page,
        }),
    );
}
