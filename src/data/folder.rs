//! Folders of images, with class folders or without:
//! - `D/train/CLASS/..` with `D/test/`, `D/val/` or others likewise (`data::names` has their names), ImageNet
//!   with its validation images in class folders or in one folder (`data::ilsvrc`); Tiny-ImageNet with its
//!   `val_annotations.txt`;
//! - `D/train/*` without labels, and a labelled `D/val/CLASS/..`, which serves evaluation;
//! - `D/CLASS/..`, without a test split;
//! - `D/*`, without labels;
//! - any of these a few folders down (`data::layout`).
//!
//! Every image is brought to one square size, the shorter side resized and the centre cropped, or its shorter side is
//! brought to size alone (`data.stored`).

use super::layout;
use super::listed::Listed;
use super::load::{Entry, Loader, name_of};
use super::parts::{Group, Parts};
use super::pixels::Kept;
use super::source::files::Folder;
use super::source::{Place, Source};
use super::split::hold_out;
use super::stored::{Store, Stored};
use super::tally::Sides;
use super::tree::Tree;
use super::{DataError, Dataset, Request, Split};
use crate::graph::memory::free_memory;
use crate::graph::plan::mebibytes;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn fail(path: &Path, reason: impl Into<String>) -> DataError {
    DataError::Format {
        path: path.into(),
        reason: reason.into(),
    }
}

/// Refuses what would not fit the host's free memory.
///
/// # Errors
/// More than is free; says how much, and what to do (`advice`).
pub(super) fn fits(
    path: &Path,
    images: usize,
    side: usize,
    (free, advice): (Option<u64>, &str),
) -> Result<(), DataError> {
    let need = bytes(images, (side, side)).saturating_mul(2);
    match free.filter(|f| need > *f) {
        None => Ok(()),
        Some(free) => Err(fail(
            path,
            format!(
                "{images} images of {side}x{side} need {} of memory while they are made, and {} are free; {advice}",
                mebibytes(need as usize),
                mebibytes(free as usize)
            ),
        )),
    }
}

/// Bytes of images of these sides.
fn bytes(images: usize, (height, width): (usize, usize)) -> u64 {
    let one = (height as u64).saturating_mul(width as u64);
    one.saturating_mul(3).saturating_mul(images as u64)
}

/// Are so many images kept in memory? If not, says why.
fn kept(r: &Request<'_>, images: usize) -> Result<(), String> {
    let (height, width) = r.room();
    let bytes = bytes(images, (height, width));
    let words = |bytes: u64| mebibytes(bytes as usize);
    let all = match r.reading.kept {
        Kept::Square => format!("{images} images of {height}x{width} are {}", words(bytes)),
        Kept::ShortSide => format!(
            "{images} images of up to {height}x{width} take {}",
            words(bytes)
        ),
    };
    if bytes > r.keeping.memory {
        let most = words(r.keeping.memory);
        return Err(format!("{all}, more than data.memory_mib, {most}"));
    }
    // While they are decoded nothing else of this size is needed; what remains is the training's.
    match free_memory().filter(|free| bytes > free / 4 * 3) {
        None => Ok(()),
        Some(free) => Err(format!("{all}, and {} of memory are free", words(free))),
    }
}

/// What is said of sets that are not kept in memory.
pub const READ_LATER: &str = "images are read while training goes on";

/// How the images of a set are read.
enum Reads<'a> {
    /// Now.
    All(Box<dyn Source>, Box<Loader<'a>>),
    /// When they are needed.
    Later(Arc<Store>),
}

impl Reads<'_> {
    /// The images of a part, which begins with image `first` of the source.
    fn part(
        &mut self,
        r: &Request<'_>,
        root: &Path,
        first: usize,
        entries: &[Entry],
    ) -> Result<(Dataset, Sides), DataError> {
        match self {
            Self::All(source, loader) => loader.load((source.as_ref(), first), entries),
            Self::Later(store) => {
                let (height, width) = r.room();
                let mut d = Dataset::empty(height, width);
                d.labels
                    .extend(entries.iter().filter_map(|(_, label)| *label));
                d.names = entries
                    .iter()
                    .map(|(path, _)| name_of(path, root))
                    .collect();
                let images = (first as u32..(first + entries.len()) as u32).collect();
                d.stored = Some(Stored::new(Arc::clone(store), images, &d.labels));
                Ok((d, store.sides(first..first + entries.len())))
            }
        }
    }
}

/// What is in a folder of images; none is opened.
///
/// # Errors
/// No images there; folders that may be parts of the data or classes.
pub(super) fn list(path: &Path) -> Result<Listed, DataError> {
    let mut warnings = Vec::new();
    let tree = Tree::read(path, &mut warnings)?;
    if tree.images == 0 {
        return Err(fail(
            path,
            format!(
                "no images: expected png, jpeg, webp, bmp, gif, tiff, pnm, qoi or tga files, in a folder a class or \
                 side by side, or train/ and test/ folders of these; or CIFAR, STL-10 or IDX binary files; there \
                 {}",
                tree.there()
            ),
        ));
    }
    let found = layout::find(&tree, &mut warnings)?;
    let used: HashSet<&Path> = found.files().collect();
    let said: HashSet<&Path> = found.said.iter().map(|p| &**p).collect();
    if let Some(unused) = tree.unused(&used, &said) {
        warnings.push(format!("not used: {unused}"));
    }
    Ok(Listed {
        what: "image folder".into(),
        path: path.into(),
        root: path.into(),
        place: Box::new(Folder(path.into())),
        parts: found.parts,
        notes: warnings,
        packed: None,
    })
}

/// Reads the images of all parts from `place`, or leaves them there where they are more than is kept in memory. `what`
/// the data are begins their description; `path` is named in errors, and names are relative to `root`.
///
/// # Errors
/// No training image that decodes; a packed set that is damaged.
pub(super) fn read(
    r: &Request<'_>,
    what: &str,
    [path, root]: [&Path; 2],
    (place, parts): (Box<dyn Place>, &Parts),
    mut warnings: Vec<String>,
) -> Result<Split, DataError> {
    let members: Vec<PathBuf> = parts.entries().map(|(p, _)| p.clone()).collect();
    let count = members.len();
    let mut source = place.source(members);
    let mut reads = match kept(r, count) {
        Ok(()) => Reads::All(source, Box::new(Loader::new(r, root))),
        Err(why) => {
            let later = match source.side(0) {
                // A packed set's files were looked at when it was packed.
                Some(_) => "",
                None => {
                    "; what is odd about files is found only then (`amcl-wgpu data inspect --decode` looks at all of \
                     them)"
                }
            };
            warnings.push(format!("{why}: {READ_LATER}{later}"));
            let how = (r.reading, r.stored_size);
            source.keep(r.keeping.memory.max(r.keeping.ahead));
            Reads::Later(Arc::new(Store::new(source, count, path, how, r.keeping)))
        }
    };
    let of = |group: &Option<Group>| group.as_ref().map_or(0, |g| g.entries.len());
    let (trains, banks) = (parts.train.len(), of(&parts.bank));
    let (train, sides) = reads.part(r, root, 0, &parts.train)?;
    if train.is_empty() {
        let reason = match (parts.train.len(), &reads) {
            (n, Reads::All(_, loader)) if n > 0 => format!(
                "none of {n} images could be decoded; {}",
                loader.first_failure()
            ),
            _ => "there is no training image".into(),
        };
        return Err(fail(path, reason));
    }
    let mut rest = |first: usize, group: &Option<Group>| match group {
        Some(g) => Ok(reads.part(r, root, first, &g.entries)?.0),
        None => Ok(Dataset::empty(r.room().0, r.room().1)),
    };
    let (mut test, mut bank) = (
        rest(trains + banks, &parts.test)?,
        rest(trains, &parts.bank)?,
    );
    if let Reads::All(_, loader) = &reads {
        warnings.extend(loader.warnings());
    }
    let (count, side) = (parts.classes.len(), r.stored_size);
    let classes = match count {
        1 => "1 class".into(),
        n => format!("{n} classes"),
    };
    let name = |group: &Option<Group>| group.as_ref().map_or(String::new(), |g| g.name.clone());
    let (of, from) = (name(&parts.test), name(&parts.bank));
    let mut description = format!("{what}, {} training images", train.len());
    if !train.labels.is_empty() {
        description += &format!(" of {classes}");
    }
    description += &match r.reading.kept {
        Kept::Square => format!("{sides} brought to {side}x{side}"),
        Kept::ShortSide => format!("{sides} brought to a shorter side of {side}"),
    };
    let mut labelled = None;
    if count > 0 && train.labels.is_empty() && !test.is_empty() {
        // Only images of a test part have labels.
        if parts.bank.is_none() {
            (bank, test) = hold_out(&test, count, r.seed);
        }
        let (learns, tested) = (bank.len(), test.len());
        description += &match parts.bank {
            None => format!(
                "; only {of} has labels, of {classes}: evaluation learns from {learns} of its images and is tested on \
                 {tested}, 10 % of every class (seed {})",
                r.seed
            ),
            Some(_) => format!(
                "; labels, of {classes}, have {learns} images of {from}, which evaluation learns from, and {tested} \
                 test images of {of}"
            ),
        };
        labelled = Some(bank);
    } else if !test.is_empty() {
        description += &format!(" and {} test images of {of}", test.len());
    }
    Ok(Split {
        description,
        warnings,
        train,
        labelled,
        test,
        classes: parts.classes.clone(),
    })
}
