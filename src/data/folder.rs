//! Folders of images, with class folders or without:
//! - `D/train/CLASS/..` with `D/test/`, `D/val/` or others likewise ([`super::names`] has their names), ImageNet;
//!   Tiny-ImageNet with its `val_annotations.txt`;
//! - `D/train/*` without labels, and a labelled `D/val/CLASS/..`, which serves evaluation;
//! - `D/CLASS/..`, without a test split;
//! - `D/*`, without labels;
//! - any of these a few folders down ([`super::layout`]).
//!
//! Every image is brought to one square size: the shorter side resized, the centre cropped.

use super::layout;
use super::parts::{Group, Parts};
use super::split::hold_out;
use super::tree::Tree;
use super::{DataError, Dataset, Request, Split};
use crate::graph::plan::{free_memory, mebibytes};
use image::imageops::FilterType;
use image::{ImageReader, Limits};
use rayon::prelude::*;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Largest side and memory of one image: enough for any photograph, not for a decompression bomb.
const SIDE: u32 = 32_768;
const MEMORY: u64 = 1 << 30;
/// Undecodable files that are named one by one.
const NAMED: usize = 10;

/// An image file and its class.
pub(super) type Entry = (PathBuf, Option<u32>);

fn fail(path: &Path, reason: impl Into<String>) -> DataError {
    DataError::Format {
        path: path.into(),
        reason: reason.into(),
    }
}

/// One image as `size` x `size` RGB bytes, and its own width and height.
fn decode(path: &Path, size: u32) -> Result<(Vec<u8>, (u32, u32)), String> {
    let mut reader = ImageReader::open(path)
        .and_then(ImageReader::with_guessed_format)
        .map_err(|e| e.to_string())?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(SIDE);
    limits.max_image_height = Some(SIDE);
    limits.max_alloc = Some(MEMORY);
    reader.limits(limits);
    let image = reader.decode().map_err(|e| e.to_string())?.to_rgb8();
    let (w, h) = image.dimensions();
    let short = w.min(h);
    if short == 0 {
        return Err("it has no pixels".into());
    }
    // The largest centred square first: only what is kept is resized.
    let square = image::imageops::crop_imm(&image, (w - short) / 2, (h - short) / 2, short, short);
    if short == size {
        return Ok((square.to_image().into_raw(), (w, h)));
    }
    let small = image::imageops::resize(&square.to_image(), size, size, FilterType::Triangle);
    Ok((small.into_raw(), (w, h)))
}

/// Shortest and longest side of the images of a set as they are in their files, in words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sides(Option<(u32, u32)>);

impl Sides {
    fn add(&mut self, (w, h): (u32, u32)) {
        let (low, high) = self.0.unwrap_or((u32::MAX, 0));
        self.0 = Some((low.min(w.min(h)), high.max(w.max(h))));
    }
}

impl std::fmt::Display for Sides {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            None => Ok(()),
            Some((low, high)) if low == high => write!(f, " ({low}x{low} in their files)"),
            Some((low, high)) => write!(f, " (sides of {low} to {high} in their files)"),
        }
    }
}

/// Refuses what would not fit the host's free memory: images are decoded one by one and then laid side by side.
///
/// # Errors
/// More than is free; says how much, and what to do.
pub(super) fn fits(
    path: &Path,
    images: usize,
    side: usize,
    free: Option<u64>,
) -> Result<(), DataError> {
    let square = (side as u64).saturating_mul(side as u64);
    let need = square.saturating_mul(6).saturating_mul(images as u64);
    match free.filter(|f| need > *f) {
        None => Ok(()),
        Some(free) => Err(fail(
            path,
            format!(
                "{images} images brought to {side}x{side} need {} of memory while they are read, and \
                 {} are free; bring them to a smaller size (data.stored_size), or name \
                 fewer of them in a CSV list",
                mebibytes(need as usize),
                mebibytes(free as usize)
            ),
        )),
    }
}

/// Decodes entries in parallel; the files that fail are named.
/// Names are relative to `root`.
pub(super) fn load(
    r: &Request<'_>,
    root: &Path,
    entries: &[Entry],
    warnings: &mut Vec<String>,
) -> (Dataset, Sides) {
    let (done, size) = (AtomicUsize::new(0), r.stored_size);
    let decoded: Vec<Result<_, String>> = entries
        .par_iter()
        .map(|(path, _)| {
            let image = decode(path, size as u32);
            (r.progress)(done.fetch_add(1, Ordering::Relaxed) + 1, entries.len());
            image
        })
        .collect();
    let mut out = Dataset::empty(size, size);
    let (mut failed, mut sides) = (0, Sides::default());
    for (image, (path, label)) in decoded.into_iter().zip(entries) {
        match image {
            Ok((px, own)) => {
                sides.add(own);
                out.images.extend(px);
                out.labels.extend(label);
                let name = path.strip_prefix(root).unwrap_or(path);
                out.names.push(name.to_string_lossy().into_owned());
            }
            Err(e) => {
                failed += 1;
                if failed <= NAMED {
                    warnings.push(format!("left out: {}: {e}", path.display()));
                }
            }
        }
    }
    if failed > 0 {
        warnings.push(format!(
            "{failed} of {} files could not be decoded",
            entries.len()
        ));
    }
    (out, sides)
}

/// Opens a folder of images.
///
/// # Errors
/// No images there, or none that decodes; folders that may be parts of the data or classes.
pub fn open(r: &Request<'_>, path: &Path) -> Result<Split, DataError> {
    let mut warnings = Vec::new();
    let tree = Tree::read(path, &mut warnings)?;
    if tree.images == 0 {
        let there = tree.unused(&HashSet::new(), &HashSet::new());
        return Err(fail(
            path,
            format!(
                "no images: expected png, jpeg, webp, bmp, gif, tiff, pnm, qoi or tga files, in a folder a class or \
                 side by side, or train/ and test/ folders of these; or CIFAR, STL-10 or IDX binary files; there \
                 {}",
                there.map_or("is nothing".into(), |t| format!("are {t}"))
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
    fits(path, parts.entries().count(), r.stored_size, free_memory())?;
    let before = warnings.len();
    let (train, sides) = load(r, root, &parts.train, &mut warnings);
    if train.is_empty() {
        let reason = match parts.train.len() {
            0 => "there is no training image".into(),
            n => format!("none of {n} images could be decoded; {}", warnings[before]),
        };
        return Err(fail(path, reason));
    }
    let mut rest = |group: &Option<Group>| match group {
        Some(g) => load(r, root, &g.entries, &mut warnings).0,
        None => Dataset::empty(r.stored_size, r.stored_size),
    };
    let (mut test, mut bank) = (rest(&parts.test), rest(&parts.bank));
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
        let check = |images, free| fits(Path::new("D"), images, 256, free);
        // ImageNet at 256 px: 1.28 million times 192 KiB, twice.
        let e = check(1_281_167, Some(64 << 30)).unwrap_err().to_string();
        assert!(
            e.contains("data.stored_size") && e.contains("480437.6 MiB"),
            "{e}"
        );
        assert!(check(1_281_167, None).is_ok() && check(1_281_167, Some(500 << 30)).is_ok());
    }
}
