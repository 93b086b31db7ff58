//! Folders of images, with class folders or without:
//! - `D/train/CLASS/..` with `D/test/`, `D/val/` or others likewise (`data::names` has their names), ImageNet;
//!   Tiny-ImageNet with its `val_annotations.txt`;
//! - `D/train/*` without labels, and a labelled `D/val/CLASS/..`, which serves evaluation;
//! - `D/CLASS/..`, without a test split;
//! - `D/*`, without labels;
//! - any of these a few folders down (`data::layout`).
//!
//! Every image is brought to one square size: the shorter side resized, the centre cropped.

use super::layout;
use super::load::Loader;
use super::parts::{Group, Parts};
use super::split::hold_out;
use super::tree::Tree;
use super::{DataError, Dataset, Request, Split};
use crate::graph::memory::free_memory;
use crate::graph::plan::mebibytes;
use std::collections::HashSet;
use std::path::Path;

fn fail(path: &Path, reason: impl Into<String>) -> DataError {
    DataError::Format {
        path: path.into(),
        reason: reason.into(),
    }
}

/// What to do about more images than the memory holds.
pub(super) const SMALLER: &str =
    "bring them to a smaller size (data.stored_size), or name fewer of them in a CSV list";

/// Refuses what would not fit the host's free memory: images are decoded one by one and then laid side by side.
///
/// # Errors
/// More than is free; says how much, and what to do (`advice`).
pub(super) fn fits(
    path: &Path,
    images: usize,
    side: usize,
    (free, advice): (Option<u64>, &str),
) -> Result<(), DataError> {
    let square = (side as u64).saturating_mul(side as u64);
    let need = square.saturating_mul(6).saturating_mul(images as u64);
    match free.filter(|f| need > *f) {
        None => Ok(()),
        Some(free) => Err(fail(
            path,
            format!(
                "{images} images brought to {side}x{side} need {} of memory while they are read, and \
                 {} are free; {advice}",
                mebibytes(need as usize),
                mebibytes(free as usize)
            ),
        )),
    }
}

/// Opens a folder of images.
///
/// # Errors
/// No images there, or none that decodes; folders that may be parts of the data or classes.
pub fn open(r: &Request<'_>, path: &Path) -> Result<Split, DataError> {
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
    read(r, "image folder", [path, path], &found.parts, warnings)
}

/// Reads the files of all parts. `what` the data are begins their description; `path` is named in errors, and names
/// are relative to `root`.
///
/// # Errors
/// More than the memory holds; no training image that decodes.
pub(super) fn read(
    r: &Request<'_>,
    what: &str,
    [path, root]: [&Path; 2],
    parts: &Parts,
    mut warnings: Vec<String>,
) -> Result<Split, DataError> {
    fits(
        path,
        parts.entries().count(),
        r.stored_size,
        (free_memory(), SMALLER),
    )?;
    let mut loader = Loader::new(r, root);
    let (train, sides) = loader.load(&parts.train);
    if train.is_empty() {
        let reason = match parts.train.len() {
            0 => "there is no training image".into(),
            n => format!(
                "none of {n} images could be decoded; {}",
                loader.first_failure()
            ),
        };
        return Err(fail(path, reason));
    }
    let mut rest = |group: &Option<Group>| match group {
        Some(g) => loader.load(&g.entries).0,
        None => Dataset::empty(r.stored_size, r.stored_size),
    };
    let (mut test, mut bank) = (rest(&parts.test), rest(&parts.bank));
    warnings.extend(loader.warnings());
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
    description += &format!("{sides} brought to {side}x{side}");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_the_memory_holds_is_refused_before_it_is_read() {
        let check = |images, free| fits(Path::new("D"), images, 256, (free, SMALLER));
        // ImageNet at 256 px: 1.28 million times 192 KiB, twice.
        let e = check(1_281_167, Some(64 << 30)).unwrap_err().to_string();
        assert!(
            e.contains("data.stored_size") && e.contains("480437.6 MiB"),
            "{e}"
        );
        assert!(check(1_281_167, None).is_ok() && check(1_281_167, Some(500 << 30)).is_ok());
    }
}
