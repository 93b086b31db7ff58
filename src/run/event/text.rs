//! What people read of an event.

use super::{Divergence, Epoch, Event, KnnProtocol, Step};
use crate::device::Choice;
use crate::graph::plan::mebibytes;
use crate::run::environment::Memory;
use crate::run::folder::TRACE;
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
            Self::Started { parameters, memory } => {
                format!("model: {parameters} parameters\n{memory}")
            }
            Self::Profiled { timed, folder } => format!(
                "{}\ntrace of one step: {} (open it at https://ui.perfetto.dev)",
                profile::table(timed),
                folder.join(TRACE).display()
            ),
            Self::Resumed(at) => format!("resuming at epoch {}, batch {}", at.epoch, at.batch),
            Self::Unlabelled => {
                "no labels, no test images or one class alone, of which it means nothing: kNN accuracy is not measured"
                    .into()
            },
            Self::Evaluated(e) if e.untrained => {
                format!("untrained {:.1} % ({})", e.knn_top1, e.protocol)
            }
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
        format!(
            "epoch {}/{} loss {:.4} {:.0} images/s",
            self.epoch + 1,
            self.epochs,
            self.loss,
            self.images_per_s
        )
    }
}

impl Epoch {
    fn line(&self) -> String {
        let mut line = format!(
            "epoch {}/{} loss {:.4} lr {:.4}",
            self.at.epoch, self.epochs, self.loss, self.lr
        );
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
        line
    }
}

impl fmt::Display for KnnProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { k, t } = self;
        write!(
            f,
            "kNN k={k} t={t} cosine, backbone features, test transform, running statistics"
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
