//! What happened in a run and what to do next, in words and commands.

use super::facts::{Facts, State};
use crate::config::chosen::argument;

/// Points of accuracy that count as a change where the number of test images is not known.
const POINT: f64 = 1.0;
/// The last part of a run by whose rise is judged whether it still rose: one over this.
const LAST_PART: u64 = 4;

/// What the headline is made of.
#[derive(Clone, Debug, Default)]
pub(super) struct Story {
    /// The run's folder, as it was named.
    pub run: String,
    /// How it stands; none while it is under way.
    pub ended: Option<Ended>,
    /// Epochs done, and in all.
    pub epochs: (u64, u64),
    /// Seconds in all, where it has ended.
    pub seconds: Option<f64>,
    /// kNN accuracy with random weights, percent.
    pub untrained: Option<f64>,
    /// Epochs and kNN accuracies after them, percent.
    pub knn: Vec<(u64, f64)>,
    /// Loss of the first and of the last epoch.
    pub loss: Option<(f64, f64)>,
    /// Number of classes, where it is known.
    pub classes: Option<usize>,
    /// Number of test images, where it is known.
    pub tests: Option<usize>,
    /// Alarms and their epochs.
    pub alarms: Vec<(u64, String)>,
    /// Learning rate that the run was given.
    pub lr: f32,
    /// It is the quickstart's network.
    pub tiny: bool,
    /// Where its data are.
    pub data: String,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// At its end.
    Whole,
    /// It was asked to stop.
    Asked,
    /// It failed, with this last line of its log.
    Failed(String),
}

/// A thing to do: why, and the command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Next {
    pub why: String,
    pub command: String,
}

/// How the last part of the accuracies went.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Trend {
    /// Points gained since the epoch.
    Rose(f64, u64),
    /// Highest after the epoch, at so many percent.
    Fell(u64, f64),
    /// Nothing that counts.
    Level(u64),
}

impl Story {
    pub fn of(f: &Facts) -> Self {
        let percent = |r: &serde_json::Value| r["knn_top1"].as_f64();
        let trained = f.of("eval").filter(|r| r["untrained"] != true);
        let losses: Vec<f64> = f.of("epoch").filter_map(|r| r["loss"].as_f64()).collect();
        let last = f.of("epoch").last().and_then(|r| r["epoch"].as_u64());
        let data = &f.environment["data"]["fingerprint"];
        let seen = f.seen.as_ref();
        let shown = seen.map(|s| s.classes.len()).filter(|n| *n > 0);
        let listed = data["classes"].as_array().map(Vec::len);
        Self {
            run: argument(&f.run),
            ended: match f.state() {
                State::Finished => Some(Ended::Whole),
                State::Stopped(line) if line.starts_with("stopped at ") => Some(Ended::Asked),
                State::Stopped(line) => Some(Ended::Failed(line)),
                State::UnderWay => None,
            },
            epochs: (last.unwrap_or(0), f.config.run.epochs as u64),
            seconds: f.summary.as_ref().and_then(|s| s["seconds"].as_f64()),
            untrained: f
                .of("eval")
                .find(|r| r["untrained"] == true)
                .and_then(percent),
            knn: trained
                .filter_map(|r| Some((r["epoch"].as_u64()?, percent(r)?)))
                .collect(),
            loss: losses.first().copied().zip(losses.last().copied()),
            classes: listed.filter(|n| *n > 0).or(shown),
            tests: data["test"]["images"].as_u64().map(|n| n as usize),
            alarms: f.alarms().into_iter().map(|(e, a)| (e, a.into())).collect(),
            lr: f.config.optim.rate(),
            tiny: f.config.model.encoder == "tiny",
            data: f.config.data.path.clone(),
        }
    }

    /// Points between two accuracies near `at` percent that chance does not make: two deviations of the difference
    /// of two shares of the test images.
    fn margin(&self, at: f64) -> f64 {
        let p = (at / 100.0).clamp(0.0, 1.0);
        let of = |n: usize| 100.0 * 2.0 * (2.0 * p * (1.0 - p) / n as f64).sqrt();
        self.tests.filter(|n| *n > 0).map_or(POINT, of).max(0.1)
    }

    fn trend(&self) -> Option<Trend> {
        let (last, end) = (self.knn.last()?, self.knn.last()?.0);
        let from = end - end / LAST_PART;
        let before = self.knn.iter().rev().skip(1).find(|k| k.0 <= from)?;
        let best = self.knn.iter().max_by(|a, b| a.1.total_cmp(&b.1))?;
        let counts = self.margin(last.1);
        Some(if best.1 - last.1 > counts {
            Trend::Fell(best.0, best.1)
        } else if last.1 - before.1 > counts {
            Trend::Rose(last.1 - before.1, before.0)
        } else {
            Trend::Level(before.0)
        })
    }

    /// Nothing was learnt that kNN sees.
    fn in_vain(&self) -> bool {
        let last = self.knn.last().map(|k| k.1);
        last.zip(self.untrained)
            .is_some_and(|(a, b)| a - b <= self.margin(b))
    }

    fn how_it_stands(&self) -> String {
        let (done, all) = self.epochs;
        let of = format!("{done} of {all} epochs");
        match &self.ended {
            Some(Ended::Whole) => {
                let time = self
                    .seconds
                    .map_or(String::new(), |s| format!(" in {}", duration(s)));
                format!("The run went to its end: {all} epochs{time}.")
            }
            Some(Ended::Asked) => format!("The run was stopped after {of}. It can go on."),
            Some(Ended::Failed(why)) => format!("The run failed after {of}: {why}"),
            None => format!("The run is under way, or was ended from outside: {of} are done."),
        }
    }

    fn accuracy(&self) -> String {
        let Some((_, last)) = self.knn.last() else {
            let loss = self.loss.map_or(String::new(), |(a, b)| {
                format!("; the loss went from {a:.3} to {b:.3}, which says little of the features")
            });
            return match self.untrained {
                Some(v) => format!(
                    "kNN accuracy is {v:.1} % with random weights; none was measured since{loss}."
                ),
                None => format!(
                    "No accuracy was measured: there are no labels or no test images{loss}."
                ),
            };
        };
        let mut text = match self.untrained {
            Some(b) if self.in_vain() => format!(
                "kNN accuracy is {last:.1} %, no better than {b:.1} % with random weights: kNN sees nothing that was \
                 learnt"
            ),
            Some(b) => {
                format!("kNN accuracy rose from {b:.1} % with random weights to {last:.1} %")
            }
            None => format!("kNN accuracy is {last:.1} %"),
        };
        if let Some(n) = self.classes {
            let chance = 100.0 / n as f64;
            let classes = if n == 1 { "class" } else { "classes" };
            text += &format!("; guessing among {n} {classes} gives {chance:.1} %");
            if n == 1 {
                text += ", so it means nothing";
            }
        }
        text + "."
    }

    fn course(&self) -> Option<String> {
        Some(match self.trend()? {
            Trend::Rose(gain, since) => {
                let end = if self.ended.is_some() {
                    "at the end"
                } else {
                    "at last"
                };
                format!("It still rose {end}: by {gain:.1} points since epoch {since}.")
            }
            Trend::Fell(epoch, best) => {
                format!("It was highest after epoch {epoch}, at {best:.1} %, and has fallen since.")
            }
            Trend::Level(since) => {
                format!("It has not changed by more than chance would since epoch {since}.")
            }
        })
    }

    fn warnings(&self) -> String {
        let Some((first, text)) = self.alarms.first() else {
            return "There were no alarms.".into();
        };
        let mut epochs: Vec<u64> = self.alarms.iter().map(|a| a.0).collect();
        epochs.dedup();
        let until = match self.alarms.last() {
            Some((last, _)) if *last == self.epochs.0 && self.epochs.0 > *first => {
                ", the last of them in the last epoch"
            }
            _ => "",
        };
        let in_epochs = match epochs.len() {
            1 => "in one epoch".into(),
            n => format!("in {n} epochs"),
        };
        format!("There were alarms {in_epochs}{until}. The first, after epoch {first}: {text}.")
    }

    /// What happened, a sentence or two each.
    pub fn sentences(&self) -> Vec<String> {
        let mut out = vec![self.how_it_stands(), self.accuracy()];
        out.extend(self.course());
        out.push(self.warnings());
        out
    }

    /// What to do next, the most useful first.
    pub fn next(&self) -> Vec<Next> {
        let run = &self.run;
        let mut out = Vec::new();
        let mut add = |why: &str, command: String| {
            out.push(Next {
                why: why.into(),
                command: format!("amcl-wgpu {command}"),
            });
        };
        let other = |suffix: &str, set: String| {
            let out = argument(&format!("{}-{suffix}", bare(run)));
            format!("train --config {run}/config.toml {set} --out {out}")
        };
        let slower = || other("slower", format!("--set optim.lr={}", self.lr / 3.0));
        let longer = || other("longer", format!("--epochs {}", 2 * self.epochs.1));
        match &self.ended {
            None => add(
                "Go on, if it is no longer running",
                format!("train --resume {run}"),
            ),
            Some(Ended::Asked) => add("Go on", format!("train --resume {run}")),
            Some(Ended::Failed(_)) => {
                add("Try a third of the learning rate", slower());
                add(
                    "Or go on from the last good checkpoint",
                    format!("train --resume {run}"),
                );
            }
            Some(Ended::Whole) => {
                if self.in_vain() {
                    add("Train longer, if this run was short", longer());
                    add("Try a third of the learning rate", slower());
                }
                match self.trend() {
                    Some(Trend::Rose(..)) => add("Train longer", longer()),
                    Some(Trend::Fell(..)) if !self.in_vain() => {
                        add("Try a third of the learning rate", slower());
                    }
                    _ => (),
                }
                if self.tiny {
                    let own = match self.data.as_str() {
                        "shapes" => String::from("FOLDER"),
                        path => argument(path),
                    };
                    let why = "Train a network for use: the images choose the recipe";
                    add(why, format!("train --data {own}"));
                }
                if !self.knn.is_empty() {
                    add(
                        "Evaluate with a linear classifier",
                        format!("eval linear {run}"),
                    );
                }
                let beside = |ending: &str| argument(&format!("{}{ending}", bare(run)));
                let exported = beside("-exported");
                add(
                    "Use it in PyTorch or ONNX",
                    format!("export {run} -o {exported}"),
                );
                let embedded = beside("-features.npy");
                add(
                    "Features of all images",
                    format!("embed {run} -o {embedded}"),
                );
            }
        }
        if self.ended.is_some() {
            add(
                "Lay it beside another run",
                format!("report {run} OTHER_RUN"),
            );
        }
        out
    }
}

/// A printed argument without its quotes and a last slash, to be lengthened.
fn bare(argument: &str) -> String {
    let inner = argument
        .strip_prefix('\'')
        .and_then(|a| a.strip_suffix('\''));
    let plain = inner.map_or(argument.to_string(), |a| a.replace("'\\''", "'"));
    plain.trim_end_matches('/').into()
}

/// A time in words, for people.
pub(super) fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7_200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3_600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn story() -> Story {
        Story {
            run: "runs/a".into(),
            ended: Some(Ended::Whole),
            epochs: (20, 20),
            seconds: Some(95.0),
            untrained: Some(30.0),
            knn: vec![(5, 50.0), (10, 60.0), (15, 70.0), (20, 78.0)],
            loss: Some((5.0, 3.0)),
            classes: Some(10),
            tests: Some(1000),
            lr: 0.06,
            data: "photos".into(),
            ..Story::default()
        }
    }

    fn words(s: &Story) -> String {
        s.sentences().join(" ")
    }

    fn commands(s: &Story) -> String {
        let all: Vec<String> = s.next().into_iter().map(|n| n.command).collect();
        all.join("\n")
    }

    #[test]
    fn a_run_that_still_rose_is_to_be_trained_longer() {
        let s = story();
        for part in [
            "went to its end: 20 epochs in 95 s",
            "rose from 30.0 % with random weights to 78.0 %; guessing among 10 classes gives 10.0 %",
            "still rose at the end: by 8.0 points since epoch 15",
            "no alarms",
        ] {
            assert!(words(&s).contains(part), "{part}: {}", words(&s));
        }
        let longer = "amcl-wgpu train --config runs/a/config.toml --epochs 40 --out runs/a-longer";
        assert!(commands(&s).starts_with(longer), "{}", commands(&s));
        assert!(commands(&s).contains("amcl-wgpu export runs/a -o runs/a-exported"));
        // The controls: a run that is level, and one that fell.
        let level = Story {
            knn: vec![(5, 50.0), (10, 77.0), (15, 77.5), (20, 78.0)],
            ..story()
        };
        assert!(
            !commands(&level).contains("--epochs"),
            "{}",
            commands(&level)
        );
        assert!(
            words(&level).contains("more than chance"),
            "{}",
            words(&level)
        );
        let fell = Story {
            knn: vec![(10, 90.0), (20, 78.0)],
            ..story()
        };
        assert!(words(&fell).contains("highest after epoch 10, at 90.0 %"));
        assert!(commands(&fell).contains("--set optim.lr=0.02 --out runs/a-slower"));
    }

    #[test]
    fn what_learnt_nothing_is_told_by_the_number_of_test_images() {
        // 4 points are within two deviations of 30 % on 500 images (5.8), and beyond those on 50,000 (0.6).
        for (tests, vain) in [(500, true), (50_000, false)] {
            let s = Story {
                knn: vec![(20, 34.0)],
                tests: Some(tests),
                ..story()
            };
            assert_eq!(words(&s).contains("sees nothing"), vain, "{}", words(&s));
            assert_eq!(commands(&s).contains("slower"), vain, "{}", commands(&s));
        }
        let one = Story {
            classes: Some(1),
            ..story()
        };
        assert!(words(&one).contains("means nothing"), "{}", words(&one));
    }

    #[test]
    fn a_run_that_did_not_end_says_how_to_go_on() {
        let asked = Story {
            ended: Some(Ended::Asked),
            epochs: (3, 20),
            run: "'my runs/it'\\''s'".into(),
            ..story()
        };
        assert!(words(&asked).contains("stopped after 3 of 20 epochs"));
        assert!(commands(&asked).starts_with(r"amcl-wgpu train --resume 'my runs/it'\''s'"));
        let failed = Story {
            ended: Some(Ended::Failed("step 7: loss NaN".into())),
            ..asked
        };
        assert!(words(&failed).contains("failed after 3 of 20 epochs: step 7: loss NaN"));
        let out = r"--out 'my runs/it'\''s-slower'";
        assert!(commands(&failed).contains(out), "{}", commands(&failed));
        let unlabelled = Story {
            knn: Vec::new(),
            untrained: None,
            alarms: vec![
                (2, "collapse".into()),
                (2, "other".into()),
                (20, "x".into()),
            ],
            ..story()
        };
        let text = words(&unlabelled);
        assert!(text.contains("No accuracy was measured") && text.contains("5.000 to 3.000"));
        assert!(
            text.contains("alarms in 2 epochs, the last of them in the last epoch"),
            "{text}"
        );
        assert!(!commands(&unlabelled).contains("eval linear"));
    }
}
