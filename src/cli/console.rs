//! What people and programs see: lines, progress bars that become lines when piped, JSON results.

use amcl_wgpu::downstream::Notice;
use amcl_wgpu::run::event::Event;
use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use serde_json::Value;
use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Time between two lines of progress where there is no terminal.
const BETWEEN_LINES: Duration = Duration::from_secs(10);

/// What a verb prints.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct OutputOptions {
    /// Print results and errors only.
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Print the result as one JSON object on standard output, and nothing else there.
    #[arg(long, global = true)]
    pub json: bool,
}

/// The terminal, or what stands for it.
pub struct Console {
    bar: ProgressBar,
    terminal: bool,
    output: OutputOptions,
    last: Mutex<Instant>,
    pace: Mutex<Pace>,
}

/// How fast a piece of work goes.
#[derive(Clone, Copy, Debug)]
struct Pace {
    begin: Instant,
    first: usize,
    all: usize,
}

impl Pace {
    fn new(done: usize, all: usize) -> Self {
        Self {
            begin: Instant::now(),
            first: done,
            all,
        }
    }

    /// Time left at the mean rate since this program began (a resumed run does not begin at zero). None
    /// before anything is done.
    fn left(&self, done: usize, elapsed: Duration) -> Option<Duration> {
        let here = done.checked_sub(self.first).filter(|n| *n > 0)?;
        let left = self.all.saturating_sub(done);
        Some(elapsed.mul_f64(left as f64 / here as f64))
    }
}

impl OutputOptions {
    /// Opens the console.
    pub fn console(self) -> Console {
        let terminal = std::io::stderr().is_terminal() && !self.quiet;
        let bar = if terminal {
            ProgressBar::new(1)
        } else {
            ProgressBar::hidden()
        };
        if let Ok(style) = ProgressStyle::with_template("{bar:24} {pos}/{len} {msg}") {
            bar.set_style(style);
        }
        Console {
            bar,
            terminal,
            output: self,
            last: Mutex::new(Instant::now()),
            pace: Mutex::new(Pace::new(0, 0)),
        }
    }
}

impl Console {
    /// Prints a line for people.
    pub fn say(&self, line: &str) {
        if !self.output.quiet && !self.output.json {
            self.bar.suspend(|| outln!("{line}"));
        }
    }

    /// Prints a warning to standard error, even with --quiet or --json.
    pub fn warn(&self, line: &str) {
        self.bar.suspend(|| errln!("{line}"));
    }

    /// Shows what a run tells: its lines, and how far it is.
    pub fn event(&self, event: &Event) {
        if let Some(line) = event.line() {
            self.say(&line);
        }
        if let Some((done, all, what)) = event.progress() {
            self.progress(done, all, &what);
        }
    }

    /// Shows the progress of a long piece of work: a bar on a terminal, else a line on standard error now and then.
    pub fn progress(&self, done: usize, all: usize, what: &str) {
        if self.terminal {
            let left = self.pace.lock().ok().and_then(|mut pace| {
                if pace.all != all || done < pace.first {
                    *pace = Pace::new(done, all);
                }
                pace.left(done, pace.begin.elapsed())
            });
            let eta = left.map_or(String::new(), |t| format!(", {} left", HumanDuration(t)));
            self.bar.set_length(all as u64);
            self.bar.set_position(done as u64);
            self.bar.set_message(format!("{what}{eta}"));
        } else if !self.output.quiet
            && let Ok(mut last) = self.last.lock()
            && last.elapsed() >= BETWEEN_LINES
        {
            *last = Instant::now();
            errln!("{done}/{all} {what}");
        }
    }

    /// Shows what the library says of a long piece of work.
    pub fn notice(&self, n: Notice<'_>) {
        match n {
            Notice::Line(line) => self.say(line),
            Notice::Warning(line) => self.warn(line),
            Notice::Progress { done, all, what } => self.progress(done, all, what),
        }
    }

    /// [`Console::notice`] as the library's functions take it.
    pub fn teller(&self) -> impl Fn(Notice<'_>) + Sync + '_ {
        |n| self.notice(n)
    }

    /// Removes the progress bar and prints the result, as JSON where that was asked for.
    pub fn result(&self, text: &str, json: &Value) {
        self.bar.finish_and_clear();
        if self.output.json {
            outln!("{json}");
        } else {
            outln!("{text}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_that_of_the_whole_work_and_a_resumed_run_counts_from_where_it_began() {
        let pace = Pace::new(100, 300);
        assert_eq!(pace.left(100, Duration::from_secs(5)), None);
        let left = pace.left(150, Duration::from_secs(10));
        assert_eq!(left, Some(Duration::from_secs(30)));
        assert_eq!(
            pace.left(300, Duration::from_secs(40)),
            Some(Duration::ZERO)
        );
    }
}
