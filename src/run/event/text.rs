//! What people read of an event.

use super::{Divergence, Epoch, Event, Forecast, KnnProtocol, Step};
use crate::device::Choice;
use crate::graph::plan::mebibytes;
use crate::graph::watched;
use crate::run::environment::Memory;
use crate::run::folder::{CALLS, TRACE};
use crate::run::profile;
use std::fmt;

impl Event {
    /// What a terminal says of it, perhaps in several lines, without the last line's end; none for what only moves a
    /// progress bar or is only recorded.
    pub fn line(&self) -> Option<String> {
        Some(match self {
            Self::Data {
                description,
                warnings,
            } => {
                let all = std::iter::once(description).chain(warnings);
                let lines: Vec<String> = all.map(|text| format!("data: {text}")).collect();
                lines.join("\n")
            }
            Self::Note(text) => text.clone(),
            Self::Device { name } => format!("device: {name}"),
            Self::Weights { from, report } => {
                format!("weights from {}: {}", from.display(), report.summary())
            }
            Self::Planned(p) => format!("model: {} parameters\n{}", p.parameters, p.memory),
            Self::Profiled { timed, folder } => format!(
                "{}\ntrace of one step: {} (open it at https://ui.perfetto.dev)",
                profile::table(timed),
                folder.join(TRACE).display()
            ),
            Self::Watched { calls, folder } => format!(
                "trace of what the host did for the first steps: {} ({})",
                folder.join(CALLS).display(),
                match watched::overlap(calls) {
                    true => "each batch was sent before the results of the one before were waited for",
                    false => "a batch waited for the results of the one before",
                }
            ),
            Self::Resumed(at) => format!("resuming at epoch {}, batch {}", at.epoch, at.batch),
            Self::Unlabelled => {
                "no labels, no test images or one class alone, of which it means nothing: kNN accuracy is not measured"
                    .into()
            },
            Self::Evaluated(e) if e.untrained => {
                format!("untrained {:.1} % ({})", e.knn_top1, e.protocol)
            }
            Self::Forecast(f) => f.line(),
            Self::Epoch(e) => e.line(),
            Self::Alarm(alarm) => format!("ALARM {alarm}"),
            Self::Stopped { at, folder, device } => {
                // A run that is continued elsewhere does not end with the same bits.
                let device = match device {
                    Choice::Auto => String::new(),
                    other => format!(" --device {other}"),
                };
                format!(
                    "stopped at epoch {}, batch {}; continue with: amcl-wgpu train --resume {}{device}",
                    at.epoch,
                    at.batch,
                    folder.display()
                )
            }
            _ => return None,
        })
    }

    /// What `log.txt` says of it: the terminal's line, and what a terminal does not show.
    pub fn log_line(&self) -> Option<String> {
        match self {
            Self::Step(s) if s.skipped => Some(format!(
                "step {} is skipped: its gradient overflows 16 bits; the loss scale is now {}",
                s.step,
                s.loss_scale.unwrap_or(1.0)
            )),
            Self::Failed(why) => Some(why.to_string()),
            other => other.line(),
        }
    }

    /// How far a long piece of work is: done, all, and what it is; none for other events.
    pub fn progress(&self) -> Option<(usize, usize, String)> {
        let (done, all, what) = match self {
            Self::Decoding { done, all } => (*done, *all, "decoding images".into()),
            Self::Tuning { done, all } => {
                let what = "timing the kernels' tiles, once for this GPU";
                (*done, *all, what.into())
            }
            Self::Compiling => (0, 1, "compiling kernels and sending the data".into()),
            Self::Features { done, all } => (*done, *all, "features for kNN".into()),
            Self::Step(s) => (s.step, s.steps, s.pace()),
            _ => return None,
        };
        Some((done, all, what))
    }
}

impl Step {
    fn pace(&self) -> String {
        let waited = self.waited.map_or(String::new(), |share| {
            format!(", {:.0} % of it waiting for images", 100.0 * share)
        });
        format!(
            "epoch {}/{} loss {:.4} {}{waited}",
            self.epoch + 1,
            self.epochs,
            self.loss,
            rate(self.images_per_s)
        )
    }
}

/// Images a second in words: in three digits, and as seconds an image where it is less than one.
pub fn rate(images_per_s: f64) -> String {
    match images_per_s {
        r if r >= 100.0 => format!("{r:.0} images/s"),
        r if r >= 10.0 => format!("{r:.1} images/s"),
        r if r >= 1.0 => format!("{r:.2} images/s"),
        r if r > 0.0 => format!("{:.3} s an image", 1.0 / r),
        _ => "no image yet".into(),
    }
}

/// A time in words, rounded to what a forecast can tell: minutes, hours or days.
fn about(seconds: f64) -> String {
    match seconds {
        s if s < 5_400.0 => format!("{:.0} minutes", s / 60.0),
        s if s < 36_000.0 => format!("{:.1} hours", s / 3_600.0),
        s if s < 259_200.0 => format!("{:.0} hours", s / 3_600.0),
        s => format!("{:.0} hours ({:.0} days)", s / 3_600.0, s / 86_400.0),
    }
}

impl Forecast {
    fn line(&self) -> String {
        let mut line = format!(
            "no GPU: the {} steps that are left take about {}, by the {} so far of {:.2} s each; evaluations come on \
             top",
            self.left,
            about(self.seconds_per_step * self.left as f64),
            self.timed,
            self.seconds_per_step
        );
        if let Some(command) = &self.smaller {
            line += &format!(
                "\nno GPU: Ctrl-C saves and ends; the quickstart's tiny network, to see that all works: {command}"
            );
        }
        line
    }
}

/// A learning rate to four places; small ones, which AdamW has, to three digits.
fn learning_rate(lr: f32) -> String {
    match lr > 0.0 && lr < 1e-3 {
        true => format!("{lr:.2e}"),
        false => format!("{lr:.4}"),
    }
}

impl Epoch {
    fn line(&self) -> String {
        let mut line = format!(
            "epoch {}/{} loss {:.4}",
            self.at.epoch, self.epochs, self.loss
        );
        // One term is the loss.
        if self.terms.len() > 1 {
            let terms = self.terms.iter().map(|(name, v)| format!("{name} {v:.4}"));
            line += &format!(" ({})", terms.collect::<Vec<_>>().join(", "));
        }
        line += &format!(" lr {}", learning_rate(self.lr));
        let h = &self.health;
        let medians = [
            ("sim+", 2, Some(&h.sim_pos)),
            ("sim-", 2, Some(&h.sim_neg)),
            ("tau+", 3, h.tau_pos.first()),
            ("tau-", 3, h.tau_neg.first()),
        ];
        for (name, digits, q) in medians {
            // Some methods have no negative pairs.
            if let Some(v) = q.map(|q| q[1]).filter(|v| v.is_finite()) {
                line += &format!(" {name} {v:.digits$}");
            }
        }
        if let Some(e) = &self.evaluation {
            line += &format!(" kNN {:.1} %", e.knn_top1);
        }
        if !self.ranks.is_empty() {
            let shares = self.ranks.iter().map(|r| 100.0 * r.waited / self.seconds);
            let (least, most) =
                shares.fold((f64::INFINITY, 0f64), |(a, b), s| (a.min(s), b.max(s)));
            line += &format!(" waiting for ranks {least:.0} to {most:.0} %");
        }
        line
    }
}

impl fmt::Display for KnnProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { k, t, pool } = self;
        let feature = pool.map_or("backbone features".into(), |p| p.to_string());
        write!(
            f,
            "kNN k={k} t={t} cosine, {feature}, test transform, running statistics"
        )
    }
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "step {}: loss {}, squared gradient norm {}: {}. The last good checkpoint is in {}",
            self.step,
            self.loss,
            self.norm2,
            self.why,
            self.checkpoints.display()
        )
    }
}

/// Tensors that the summary of the memory plan names.
const NAMED: usize = 3;

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = match &self.images_streamed {
            None => "on the device".into(),
            Some(why) => format!("streamed ({why})"),
        };
        let loss = match self.streamed_loss {
            true => "; loss streamed, without matrices of all pairs",
            false => "",
        };
        write!(
            f,
            "memory: {} planned: training step {} (of {} without reuse), states {}; training images \
             {held}{loss}; largest:",
            mebibytes(self.planned as usize),
            mebibytes(self.training_step),
            mebibytes(self.without_reuse),
            mebibytes(self.states),
        )?;
        for (bytes, tensor) in self.largest.iter().take(NAMED) {
            write!(f, "\n  {:>12}  {tensor}", mebibytes(*bytes))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_rates_are_seconds_an_image() {
        for (rate_of, text) in [
            (1234.4, "1234 images/s"),
            (99.96, "100.0 images/s"),
            (1.0, "1.00 images/s"),
            (0.4, "2.500 s an image"),
            (0.0, "no image yet"),
            (f64::NAN, "no image yet"),
        ] {
            assert_eq!(rate(rate_of), text);
        }
    }

    #[test]
    fn a_forecast_names_hours_what_they_are_measured_by_and_the_smaller_command() {
        let f = Forecast {
            timed: 3,
            seconds_per_step: 36.0,
            left: 1000,
            smaller: Some("amcl-wgpu train".into()),
        };
        let line = Event::Forecast(f.clone()).line().unwrap();
        for part in [
            "1000 steps",
            "10 hours",
            "3 so far of 36.00 s",
            "amcl-wgpu train",
        ] {
            assert!(line.contains(part), "{part}: {line}");
        }
        let smallest = Forecast { smaller: None, ..f };
        assert!(!smallest.line().contains("amcl-wgpu"));
        assert_eq!(about(600.0), "10 minutes");
        assert_eq!(about(864_000.0), "240 hours (10 days)");
    }
}
