//! Doing an experiment: its trainings one after the other, measured and tabled.

use super::file::{Experiment, Measure};
use super::table::Table;
use super::trial::{Trial, ended, trials};
use super::{ExperimentError, Result};
use crate::device::Choice;
use crate::downstream::protocols::KnnSettings;
use crate::downstream::{Notice, Source, protocols};
use crate::eval::knn::Distance;
use crate::run::checkpoint::{present, write_atomically};
use crate::run::{event, io};
use crate::train::{TrainError, Trainer};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// The table of a sweep, in its folder.
const TABLE: &str = "table.md";
/// The table as a page, which the program writes beside it.
pub const PAGE: &str = "report.html";

/// An experiment's trainings in a folder.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// The experiment.
    pub experiment: Experiment,
    /// Its trainings, in the order in which they are done.
    pub trials: Vec<Trial>,
    /// The folder: a run folder for each training, and `table.md`.
    pub out: PathBuf,
    /// The device of all trainings and measurements.
    pub device: Choice,
    /// Texts of which the name of a training's folder has one, where others are not done ([`Sweep::only`]).
    only: Vec<String>,
}

/// What a sweep says while it goes on.
#[derive(Debug)]
pub enum Event<'a> {
    /// A training, or what is missing of its measurements, begins.
    Trial {
        /// Which one, from 1.
        number: usize,
        /// Trainings in all.
        all: usize,
        /// Its folder.
        folder: &'a Path,
    },
    /// A training's loss was not finite. The others are done.
    Diverged {
        /// Its folder.
        folder: &'a Path,
        /// Where and why.
        error: &'a TrainError,
    },
    /// A training was left out: the one that it starts from has not gone to its end.
    LeftOut {
        /// Its folder.
        folder: &'a Path,
        /// The folder of the other.
        start: &'a Path,
    },
    /// The table was brought up to date.
    Tabled(&'a Table),
    /// What the training or measurement under way says.
    Notice(Notice<'a>),
}

/// Has a training's folder this text in its name?
fn named(trial: &Trial, text: &str) -> bool {
    let name = trial.folder.file_name();
    name.is_some_and(|n| n.to_string_lossy().contains(text))
}

/// Who is told of an [`Event`].
type Tell<'a> = &'a (dyn Fn(Event<'_>) + Sync);

/// How a sweep ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The table.
    pub table: Table,
    /// Folders of the trainings whose loss was not finite.
    pub diverged: Vec<PathBuf>,
    /// Folders of the trainings that would have started from one that has not gone to its end.
    pub left_out: Vec<PathBuf>,
    /// False where it was stopped before its end.
    pub complete: bool,
}

impl Finished {
    /// Folders of the trainings that have not gone to their end although the sweep has.
    pub fn missing(&self) -> Vec<PathBuf> {
        self.diverged
            .iter()
            .chain(&self.left_out)
            .cloned()
            .collect()
    }
}

/// How a training ended.
enum End {
    Complete,
    Stopped,
    Diverged,
    LeftOut,
}

impl Sweep {
    /// Plans an experiment. `over` are settings (`section.key=value`) of every training, which override the file.
    ///
    /// # Errors
    /// An unknown preset or setting, with the case's name.
    pub fn new(
        experiment: Experiment,
        over: &[String],
        out: &Path,
        device: Choice,
    ) -> Result<Self> {
        Ok(Self {
            trials: trials(&experiment, over, out)?,
            experiment,
            out: out.to_path_buf(),
            device,
            only: Vec::new(),
        })
    }

    /// The same sweep, which does none but the trainings whose folder's name has one of these texts, all where there
    /// is none. The table has them all, so that a sweep can be done in parts: on several machines, or the most telling
    /// first.
    ///
    /// # Errors
    /// A text that no name has.
    pub fn only(self, texts: &[String]) -> Result<Self> {
        let has = |text: &&String| self.trials.iter().any(|t| named(t, text));
        if let Some(text) = texts.iter().find(|text| !has(text)) {
            return Err(ExperimentError::File(format!(
                "no run of this sweep has `{text}` in its name: --list prints them"
            )));
        }
        let only = texts.to_vec();
        Ok(Self { only, ..self })
    }

    /// The trainings that are done, in their order.
    pub fn chosen(&self) -> impl Iterator<Item = &Trial> {
        let all = self.only.is_empty();
        self.trials
            .iter()
            .filter(move |t| all || self.only.iter().any(|text| named(t, text)))
    }

    /// The table of what was measured so far.
    pub fn table(&self) -> Table {
        Table::of(&self.experiment, &self.trials)
    }

    /// Does what is missing. Trainings that went to their end are not done again; one that was interrupted
    /// goes on. `stop` ends the sweep as soon as the training under way has saved.
    ///
    /// # Errors
    /// A folder that holds a run of another configuration (then nothing is done); any failure of a training
    /// or measurement but a loss that is not finite.
    pub fn run(&self, stop: &AtomicBool, tell: Tell<'_>) -> Result<Finished> {
        let mut begun = false;
        for t in &self.trials {
            begun |= t.begun()?;
        }
        if !begun {
            self.unused()?;
        }
        std::fs::create_dir_all(&self.out).map_err(io(&self.out))?;
        let stopped = || stop.load(Ordering::Relaxed);
        let (mut diverged, mut left_out) = (Vec::new(), Vec::new());
        let all = self.chosen().count();
        for (i, trial) in self.chosen().enumerate() {
            if trial.results(&self.experiment).is_none() {
                tell(Event::Trial {
                    number: i + 1,
                    all,
                    folder: &trial.folder,
                });
                let end = match ended(&trial.folder) {
                    true => End::Complete,
                    false => self.train(trial, stop, tell)?,
                };
                match end {
                    End::Complete if !stopped() => self.measure(trial, tell)?,
                    End::Diverged => diverged.push(trial.folder.clone()),
                    End::LeftOut => left_out.push(trial.folder.clone()),
                    End::Complete | End::Stopped => {}
                }
            }
            let table = self.table();
            write_atomically(&self.out.join(TABLE), table.markdown().as_bytes())?;
            tell(Event::Tabled(&table));
            if stopped() {
                break;
            }
        }
        Ok(Finished {
            table: self.table(),
            diverged,
            left_out,
            complete: !stopped(),
        })
    }

    /// Checks that the folder's own files are not there: without a run of this sweep they are somebody else's.
    fn unused(&self) -> Result<()> {
        match [TABLE, PAGE].iter().find(|n| self.out.join(n).exists()) {
            None => Ok(()),
            Some(name) => Err(ExperimentError::File(format!(
                "{} holds `{name}` and no run of this sweep: move it away or choose another --out",
                self.out.display()
            ))),
        }
    }

    /// Trains, or goes on where the training was interrupted.
    fn train(&self, trial: &Trial, stop: &AtomicBool, tell: Tell<'_>) -> Result<End> {
        let resume = trial.begun()? && present(&trial.folder.join("checkpoints"));
        if let Some(start) = trial.init.as_ref().filter(|s| !resume && !ended(s)) {
            tell(Event::LeftOut {
                folder: &trial.folder,
                start,
            });
            return Ok(End::LeftOut);
        }
        let name = trial.folder.display().to_string();
        let outcome = Trainer::new(trial.config.clone())
            .device(self.device.clone())
            .out(&trial.folder)
            .resume(resume)
            .init(trial.init.clone())
            // A run that was killed before its first checkpoint left files that are of no use.
            .overwrite(!resume)
            .stop(stop)
            .on_event(|event| {
                let Some((done, all, what)) = event.progress() else {
                    return;
                };
                let what = match event {
                    event::Event::Decoding { .. } => what,
                    _ => format!("{name}: {what}"),
                };
                let what = &what;
                tell(Event::Notice(Notice::Progress { done, all, what }));
            })
            .run();
        match outcome {
            Ok(outcome) if outcome.finished => Ok(End::Complete),
            Ok(_) => Ok(End::Stopped),
            Err(error @ TrainError::NonFinite(_)) => {
                tell(Event::Diverged {
                    folder: &trial.folder,
                    error: &error,
                });
                Ok(End::Diverged)
            }
            Err(e) => Err(e.into()),
        }
    }

    /// Measures what is missing of a training that went to its end.
    fn measure(&self, trial: &Trial, tell: Tell<'_>) -> Result<()> {
        let e = &self.experiment;
        let folder = trial.folder.display();
        let source = Source {
            run: trial.folder.clone(),
            data: None,
            device: self.device.clone(),
            others: Vec::new(),
        };
        let notice: crate::downstream::Tell<'_> = &|n| tell(Event::Notice(n));
        for m in &e.eval {
            if trial.measured(e, *m).is_some() {
                continue;
            }
            match m {
                Measure::Knn if trial.is_plain() => {
                    return Err(ExperimentError::File(format!(
                        "{folder} has no kNN accuracy: its data has no labels, no test images or one class alone"
                    )));
                }
                Measure::Knn => {
                    let settings = KnnSettings {
                        k: None,
                        t: None,
                        distance: Distance::Cosine,
                        features: Vec::new(),
                    };
                    drop(protocols::knn(&source, &settings, notice)?);
                }
                Measure::Linear => drop(protocols::linear(&source, &e.linear, &[], notice)?),
                Measure::Finetune => {
                    let choice = e.fine_tuning()?;
                    drop(protocols::finetune_shares(
                        &source,
                        &[1.0],
                        &choice,
                        notice,
                    )?);
                }
                Measure::FewLabel => {
                    let (settings, amounts) = (&e.linear, e.amounts());
                    drop(protocols::few_label(
                        &source,
                        settings,
                        &amounts,
                        e.draws,
                        &[],
                        notice,
                    )?);
                }
            }
            if trial.measured(e, *m).is_none() {
                return Err(ExperimentError::File(format!(
                    "{folder}: the data there are not those that the run was trained on, which \
                     {folder}/environment.json names"
                )));
            }
        }
        Ok(())
    }
}
