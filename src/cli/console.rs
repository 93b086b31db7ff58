//! What people and programs see: lines, progress bars that become lines when piped, JSON results.

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Time between two lines of progress where there is no terminal.
const BETWEEN_LINES: Duration = Duration::from_secs(10);

/// How a verb speaks.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct Voice {
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
    voice: Voice,
    last: Mutex<Instant>,
}

impl Voice {
    /// Opens the console.
    pub fn console(self) -> Console {
        let terminal = std::io::stderr().is_terminal() && !self.quiet;
        let bar = if terminal {
            ProgressBar::new(1)
        } else {
            ProgressBar::hidden()
        };
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} ETA {eta}") {
            bar.set_style(style);
        }
        Console {
            bar,
            terminal,
            voice: self,
            last: Mutex::new(Instant::now()),
        }
    }
}

impl Console {
    /// A line for people.
    pub fn say(&self, line: &str) {
        if !self.voice.quiet && !self.voice.json {
            self.bar.suspend(|| println!("{line}"));
        }
    }

    /// A warning, on standard error, whatever was asked for.
    pub fn warn(&self, line: &str) {
        self.bar.suspend(|| eprintln!("{line}"));
    }

    /// Progress of a long piece of work: a bar, or now and then a line on standard error.
    pub fn progress(&self, done: usize, all: usize, what: &str) {
        if self.terminal {
            self.bar.set_length(all as u64);
            self.bar.set_position(done as u64);
            self.bar.set_message(what.to_string());
        } else if !self.voice.quiet
            && let Ok(mut last) = self.last.lock()
            && last.elapsed() >= BETWEEN_LINES
        {
            *last = Instant::now();
            eprintln!("{what}: {done} of {all}");
        }
    }

    /// The end: bars go, the result is printed as text, or as JSON where that was asked for.
    pub fn result(&self, text: &str, json: &Value) {
        self.bar.finish_and_clear();
        if self.voice.json {
            println!("{json}");
        } else {
            println!("{text}");
        }
    }
}
