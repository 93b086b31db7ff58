//! Who may write into a run folder, and when what lies there gives way to a new run.
//!
//! A folder is claimed before anything else is done: a claim checks and locks, and removes nothing. What a new run
//! replaces is moved aside within the folder when the run begins to write, and removed when the run's first checkpoint
//! is saved. A run that ends before puts it back; after a kill the next claim does.

use super::checkpoint::{self, WRITING};
use super::folder::{self, RunFolder};
use super::{Result, RunError, csv, io};
use std::fs::File;
use std::path::{Path, PathBuf};

/// Name of the file that is locked. It stays where it is as long as the folder is in use.
const LOCK: &str = ".lock";
/// Where the files of a run that is replaced are moved, while they are moved: what is beside it is that run's too.
const MOVING: &str = ".replacing";
/// The same when all have been moved: what is beside it is the new run's.
const ASIDE: &str = ".replaced";
/// The checkpoints of a run.
pub(super) const CHECKPOINTS: &str = "checkpoints";

/// What a run writes, besides event files: all that `--overwrite` replaces.
const OURS: &[&str] = &[
    folder::CONFIG,
    folder::METRICS,
    folder::LOG,
    csv::NAME,
    folder::SUMMARY,
    folder::ENVIRONMENT,
    "report.html",
    folder::RECONSTRUCTIONS,
    folder::TRACE,
    folder::CALLS,
    CHECKPOINTS,
    folder::TILES,
    LOCK,
    MOVING,
    ASIDE,
];

/// Is it the name of something that a run writes?
fn ours(name: &str) -> bool {
    let begins = ["events.out.tfevents.", "eval-", "rank-", WRITING];
    OURS.contains(&name) || begins.iter().any(|b| name.starts_with(b))
}

/// What a folder is claimed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A new run in a folder that is empty or not there.
    New,
    /// A new run in place of one that may be there.
    Replace,
    /// More of the run that is there.
    Resume,
}

/// A folder that this process alone writes into, as long as the claim or the run folder made of it lives. The system
/// lets go of it when the process ends, however it ends. A claim that is given up leaves the folder as it was.
#[derive(Debug)]
pub struct Claim {
    path: PathBuf,
    purpose: Purpose,
    /// None once a run folder holds it.
    lock: Option<File>,
    /// Folders and the lock's file that the claim made, innermost first.
    made: Vec<PathBuf>,
    /// What was put in order, in words: a replacement that a kill had cut off.
    pub note: Option<String>,
}

impl Claim {
    /// Claims a folder. Nothing in it is changed, but for a replacement that a kill cut off: that is put back.
    ///
    /// # Errors
    /// The folder holds something that the purpose does not allow, another process trains there, or it cannot be
    /// written.
    pub fn take(path: &Path, purpose: Purpose) -> Result<Self> {
        if std::fs::metadata(path).is_ok_and(|m| !m.is_dir()) {
            return Err(RunError::Config(format!(
                "{} is a file, and a run needs a folder; choose another --out",
                path.display()
            )));
        }
        let missing = |p: &&Path| !p.as_os_str().is_empty() && !p.exists();
        let made = path.ancestors().take_while(missing).map(PathBuf::from);
        let mut claim = Self {
            path: path.into(),
            purpose,
            lock: None,
            made: made.collect(),
            note: None,
        };
        // Before a file is made in a folder that is not ours.
        claim.admit()?;
        std::fs::create_dir_all(path).map_err(io(path))?;
        let file = path.join(LOCK);
        if !file.exists() {
            claim.made.insert(0, file);
        }
        claim.lock = Some(lock(path)?);
        if purpose != Purpose::New {
            claim.note = recover(path)?;
        }
        // Another run may have come and gone since the first look.
        claim.admit()?;
        Ok(claim)
    }

    /// Does what lies in the folder allow the purpose?
    fn admit(&self) -> Result<()> {
        let p = self.path.display();
        match self.purpose {
            Purpose::New if !entries(&self.path)?.is_empty() => Err(RunError::Config(format!(
                "{p} already holds something; choose another --out, continue that run with --resume {p}, or \
                 replace it with --overwrite"
            ))),
            Purpose::Replace => match entries(&self.path)?.iter().find(|n| !ours(n)) {
                Some(name) => Err(RunError::Config(format!(
                    "{p} already holds something that no run writes, `{name}`: move it away or choose another --out"
                ))),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// Opens the folder for writing. What a new run replaces is moved aside first.
    ///
    /// # Errors
    /// Files that cannot be moved or made; then all is as it was.
    pub fn enter(mut self) -> Result<RunFolder> {
        let aside = match self.purpose {
            Purpose::Replace => Aside::of(&self.path)?,
            Purpose::New | Purpose::Resume => None,
        };
        let opened = RunFolder::create(&self.path, self.lock.take(), aside);
        if opened.is_ok() {
            self.made.clear();
        }
        opened
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // The file goes before the lock does, so that nobody locks a file that is about to go.
        for path in std::mem::take(&mut self.made) {
            let gone = match path.file_name().is_some_and(|n| n == LOCK) {
                true if self.lock.is_some() => std::fs::remove_file(&path),
                true => continue,
                // Of folders only empty ones go.
                false => std::fs::remove_dir(&path),
            };
            if gone.is_err_and(|e| e.kind() != std::io::ErrorKind::NotFound) {
                break;
            }
        }
    }
}

/// Makes a folder `base/name` of this call's own, numbered where it is taken: of two calls at the same moment each gets
/// another.
///
/// # Errors
/// A folder that cannot be made.
pub fn numbered(base: &Path, name: &str) -> Result<PathBuf> {
    std::fs::create_dir_all(base).map_err(io(base))?;
    let mut number = 0u32;
    loop {
        let path = base.join(match number {
            0 => name.to_string(),
            n => format!("{name}.{n}"),
        });
        match std::fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
            Err(e) => return Err(io(path)(e)),
        }
    }
}

/// Puts in order what a kill left of a replacement, so that the run's files can be read; says what it did.
///
/// # Errors
/// Another process trains there; files that cannot be moved.
pub fn mend(path: &Path) -> Result<Option<String>> {
    match path.join(ASIDE).exists() || path.join(MOVING).exists() {
        true => Ok(Claim::take(path, Purpose::Resume)?.note.take()),
        false => Ok(None),
    }
}

/// Checks that the run in a folder can be read: no other is about to take its place.
///
/// # Errors
/// A replacement is under way, or a kill cut it off.
pub(super) fn readable(path: &Path) -> Result<()> {
    let replaced = path.join(ASIDE).exists() && !checkpoint::present(&path.join(CHECKPOINTS));
    match replaced || path.join(MOVING).exists() {
        false => Ok(()),
        true => Err(RunError::Config(format!(
            "{0}: a run that replaces another has no checkpoint yet; if it was killed, `amcl-wgpu train --resume {0}` \
             brings the other back",
            path.display()
        ))),
    }
}

/// Takes the folder for this process.
fn lock(path: &Path) -> Result<File> {
    let file = path.join(LOCK);
    let f = folder::append(&file)?;
    let taken = || {
        RunError::Config(format!(
            "another process is training into {}; choose another --out, or wait for its end",
            path.display()
        ))
    };
    match f.try_lock() {
        // A claim that was given up may have removed the file between its opening and its lock.
        Ok(()) if !same(&f, &file) => Err(taken()),
        Ok(()) => Ok(f),
        Err(std::fs::TryLockError::WouldBlock) => Err(taken()),
        // Some network file systems have no locks: the run goes on without.
        Err(std::fs::TryLockError::Error(_)) => Ok(f),
    }
}

/// Is the open file the one of that name?
#[cfg(unix)]
fn same(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let id = |m: std::fs::Metadata| (m.dev(), m.ino());
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(a), Ok(b)) => id(a) == id(b),
        _ => false,
    }
}

/// An open file keeps its name here.
#[cfg(not(unix))]
fn same(_file: &File, path: &Path) -> bool {
    path.exists()
}

/// Names in a folder, the lock's aside. A folder that is not there has none.
fn entries(path: &Path) -> Result<Vec<String>> {
    let list = match std::fs::read_dir(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        list => list.map_err(io(path))?,
    };
    let mut names = Vec::new();
    for entry in list {
        let name = entry.map_err(io(path))?.file_name();
        names.push(name.to_string_lossy().into_owned());
    }
    names.retain(|n| n != LOCK);
    names.sort();
    Ok(names)
}

/// The files of a run that a new one replaces. They come back unless they are discarded.
#[derive(Debug)]
pub(super) struct Aside {
    path: PathBuf,
    discarded: bool,
}

impl Aside {
    /// Moves what a folder holds aside; none where it holds nothing.
    fn of(path: &Path) -> Result<Option<Self>> {
        let names = entries(path)?;
        if names.is_empty() {
            return Ok(None);
        }
        let moved = (|| {
            let into = path.join(MOVING);
            std::fs::create_dir(&into).map_err(io(&into))?;
            for name in &names {
                std::fs::rename(path.join(name), into.join(name)).map_err(io(path.join(name)))?;
            }
            std::fs::rename(&into, path.join(ASIDE)).map_err(io(&into))
        })();
        if let Err(e) = moved {
            let _ = put_back(path);
            return Err(e);
        }
        Ok(Some(Self {
            path: path.into(),
            discarded: false,
        }))
    }

    /// Removes the files: the new run stands.
    pub(super) fn discard(mut self) -> Result<()> {
        self.discarded = true;
        let aside = self.path.join(ASIDE);
        std::fs::remove_dir_all(&aside).map_err(io(aside))
    }
}

#[cfg(test)]
impl Aside {
    /// Leaves the files where they are, as a kill does.
    pub(super) fn abandon(mut self) {
        self.discarded = true;
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if !self.discarded {
            let _ = put_back(&self.path);
        }
    }
}

/// Ends a replacement that a kill cut off: forwards where the new run stands, else backwards.
fn recover(path: &Path) -> Result<Option<String>> {
    let aside = path.join(ASIDE);
    if aside.exists() && checkpoint::present(&path.join(CHECKPOINTS)) {
        std::fs::remove_dir_all(&aside).map_err(io(&aside))?;
        return Ok(None);
    }
    if !aside.exists() && !path.join(MOVING).exists() {
        return Ok(None);
    }
    put_back(path)?;
    Ok(Some(format!(
        "{}: a run that was to replace another was cut off before its first checkpoint; the other is back",
        path.display()
    )))
}

/// Moves back what was moved aside. The files of the run that was to replace them are removed. It may be cut off and
/// done again at any moment.
fn put_back(path: &Path) -> Result<()> {
    let (aside, moving) = (path.join(ASIDE), path.join(MOVING));
    if aside.exists() {
        let partial = entries(path)?;
        for name in partial.iter().filter(|n| *n != ASIDE && *n != MOVING) {
            let file = path.join(name);
            let gone = match file.is_dir() {
                true => std::fs::remove_dir_all(&file),
                false => std::fs::remove_file(&file),
            };
            gone.map_err(io(&file))?;
        }
        std::fs::rename(&aside, &moving).map_err(io(&aside))?;
    }
    for name in entries(&moving)? {
        let file = moving.join(&name);
        std::fs::rename(&file, path.join(&name)).map_err(io(&file))?;
    }
    std::fs::remove_dir(&moving).map_err(io(&moving))
}

#[cfg(test)]
mod tests;
