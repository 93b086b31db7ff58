//! How long a run takes where there is no GPU, by its first steps.

use super::run::Run;
use crate::config::chosen::smaller;
use crate::device::Choice;
use crate::run::event::{Event, Forecast};
use crate::train::Result;

/// On a CPU the time of the run is told once by so many steps, or by those of so many seconds if they are fewer.
const TIMED: (usize, f64) = (3, 5.0);
/// It is told where it is at least so many seconds.
const LONG: f64 = 600.0;

/// How long `left` steps take, after `timed` steps in `elapsed` seconds: none before there are enough to tell.
fn forecast(timed: usize, elapsed: f64, left: usize) -> Option<Forecast> {
    let enough = timed >= TIMED.0 || (timed > 0 && elapsed >= TIMED.1);
    enough.then(|| Forecast {
        timed,
        seconds_per_step: elapsed / timed as f64,
        left,
        smaller: None,
    })
}

impl Run<'_> {
    /// Tells once how long the run takes, where that is long: `left` steps, after `timed` of them in `elapsed` seconds.
    pub(super) fn foretell(&mut self, timed: usize, elapsed: f64, left: usize) -> Result<()> {
        let Some(told) = forecast(timed, elapsed, left).filter(|_| !self.forecast) else {
            return Ok(());
        };
        self.forecast = true;
        if told.seconds_per_step * (told.left as f64) < LONG {
            return Ok(());
        }
        let device = match &self.job.device {
            Choice::Auto => String::new(),
            other => format!(" --device {other}"),
        };
        let smaller = smaller(&self.job.config).map(|command| command + &device);
        self.stream
            .emit(Event::Forecast(Forecast { smaller, ..told }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_run_is_told_by_steps_that_were_timed() {
        assert!(forecast(0, 60.0, 9).is_none(), "nothing was timed");
        assert!(forecast(2, 4.9, 9).is_none(), "too little");
        let f = forecast(3, 0.3, 100).unwrap();
        assert!((f.seconds_per_step - 0.1).abs() < 1e-12 && f.left == 100);
        // One step that takes minutes is enough.
        assert_eq!(forecast(1, 120.0, 50).unwrap().seconds_per_step, 120.0);
    }
}
