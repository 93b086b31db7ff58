//! The events of a run on their way to the run's folder and to whoever listens.

use crate::config::Config;
use crate::data::{DataError, Split};
use crate::run::checkpoint::Position;
use crate::run::event::Event;
use crate::run::folder::{self, RunFolder};
use crate::train::Result;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Whoever listens to a run.
pub(super) type Listener<'a> = Box<dyn FnMut(&Event) + Send + 'a>;

/// Passes events on. Those that come before the folder is open are written down when it is.
pub(super) struct Stream<'a> {
    listener: Listener<'a>,
    folder: Option<RunFolder>,
    early: Vec<Event>,
    /// Where a rank that is not the first keeps what it has to say.
    aside: Option<PathBuf>,
}

impl<'a> Stream<'a> {
    pub(super) fn new(listener: Listener<'a>) -> Self {
        Self {
            listener,
            folder: None,
            early: Vec::new(),
            aside: None,
        }
    }

    /// The events of a rank: those of the first are told and kept. Of the others only notes are, in a file of their own
    /// in the run's folder, made when there is one.
    pub(super) fn of_rank(mut self, rank: usize, folder: &Path) -> Self {
        self.aside = (rank > 0).then(|| folder.join(format!("rank-{rank}.log")));
        self
    }

    /// Writes an event down, then tells it.
    ///
    /// # Errors
    /// The disk. The listener hears of the event all the same.
    pub(super) fn emit(&mut self, event: Event) -> Result<()> {
        if let Some(path) = &self.aside {
            return match event {
                Event::Note(text) => Ok(folder::add_line(path, &text)?),
                _ => Ok(()),
            };
        }
        let kept = match &mut self.folder {
            Some(folder) => folder.take(&event),
            None => Ok(()),
        };
        (self.listener)(&event);
        if self.folder.is_none() {
            self.early.push(event);
        }
        Ok(kept?)
    }

    /// Tells an event of which nothing is kept: the progress of a piece of work.
    pub(super) fn show(&mut self, event: &Event) {
        if self.aside.is_none() {
            (self.listener)(event);
        }
    }

    /// Opens the data set of a configuration.
    ///
    /// # Errors
    /// As [`Config::open_data`].
    pub(super) fn open_data(&mut self, config: &Config) -> std::result::Result<Split, DataError> {
        // Images are decoded by many threads.
        let tells = self.aside.is_none();
        let listener = Mutex::new(&mut self.listener);
        config.open_data(&|done, all| {
            if let (true, Ok(mut listener)) = (tells, listener.lock()) {
                listener(&Event::Decoding { done, all });
            }
        })
    }

    /// Drops records of steps that a resumed run will do again.
    ///
    /// # Errors
    /// The disk.
    pub(super) fn truncate(&mut self, at: Position) -> Result<()> {
        self.folder
            .as_mut()
            .map_or(Ok(()), |folder| Ok(folder.truncate(at)?))
    }

    /// Removes what the run replaces.
    ///
    /// # Errors
    /// The disk.
    pub(super) fn stands(&mut self) -> Result<()> {
        let folder = self.folder.as_mut();
        Ok(folder.map_or(Ok(()), RunFolder::stands)?)
    }

    /// The folder from now on; it gets what came before it was open.
    ///
    /// # Errors
    /// The disk.
    pub(super) fn attach(&mut self, mut folder: RunFolder) -> Result<()> {
        for event in self.early.drain(..) {
            folder.take(&event)?;
        }
        self.folder = Some(folder);
        Ok(())
    }
}
