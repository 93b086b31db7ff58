//! Folders of images (png, jpeg, webp, bmp):
//! - `D/train/CLASS/..` with `D/test/`, `D/val/` or `D/valid/` likewise (ImageNet; Tiny-ImageNet with its
//!   `val_annotations.txt`);
//! - `D/CLASS/..`, without a test split;
//! - `D/*`, without labels.
//!
//! Every image is brought to one square size: the shorter side resized, the centre cropped.

use super::{DataError, Dataset, Request, Split};
use crate::graph::plan::{free_memory, mebibytes};
use image::imageops::FilterType;
use image::{ImageReader, Limits};
use rayon::prelude::*;
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use walkdir::WalkDir;

/// Endings of files that are tried; what they are, their content tells.
const ENDINGS: [&str; 5] = ["png", "jpg", "jpeg", "webp", "bmp"];
/// Names of the folder of test images, in the order of preference.
const TESTS: [&str; 4] = ["test", "val", "valid", "validation"];
/// Depth below a class folder that is searched.
const DEPTH: usize = 8;
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

fn hidden(name: &std::ffi::OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

/// Image files below a folder, in the order of their names. Links are followed; one that leads back is a warning.
fn files(folder: &Path, depth: usize, warnings: &mut Vec<String>) -> Vec<PathBuf> {
    let mut out = Vec::new();
    let walk = WalkDir::new(folder)
        .follow_links(true)
        .max_depth(depth)
        .sort_by_file_name();
    let visible = |e: &walkdir::DirEntry| e.depth() == 0 || !hidden(e.file_name());
    for entry in walk.into_iter().filter_entry(visible) {
        match entry {
            Ok(e) => {
                let ending = e
                    .path()
                    .extension()
                    .map(|x| x.to_string_lossy().to_lowercase());
                if e.file_type().is_file() && ending.is_some_and(|x| ENDINGS.contains(&&*x)) {
                    out.push(e.into_path());
                }
            }
            Err(e) => warnings.push(format!("left out: {e}")),
        }
    }
    out
}

/// Sub-folders, in the order of their names.
fn folders(path: &Path) -> Result<BTreeMap<OsString, PathBuf>, DataError> {
    let io = |source| DataError::Io {
        path: path.into(),
        source,
    };
    let mut out = BTreeMap::new();
    for entry in std::fs::read_dir(path).map_err(io)? {
        let e = entry.map_err(io)?;
        if e.path().is_dir() && !hidden(&e.file_name()) {
            out.insert(e.file_name(), e.path());
        }
    }
    Ok(out)
}

/// Classes and files of a folder of class folders; none and its own files where it has no class folder with an image.
fn labelled(
    path: &Path,
    warnings: &mut Vec<String>,
) -> Result<(Vec<String>, Vec<Entry>), DataError> {
    let (mut classes, mut entries) = (Vec::new(), Vec::new());
    for (name, folder) in folders(path)? {
        let found = files(&folder, DEPTH, warnings);
        if !found.is_empty() {
            let class = classes.len() as u32;
            classes.push(name.to_string_lossy().into_owned());
            entries.extend(found.into_iter().map(|f| (f, Some(class))));
        }
    }
    if classes.is_empty() {
        let found = files(path, 1, warnings);
        entries = found.into_iter().map(|f| (f, None)).collect();
    }
    Ok((classes, entries))
}

/// Test files with the classes of training. Tiny-ImageNet's are named in `val_annotations.txt`.
fn tests(
    path: &Path,
    classes: &[String],
    warnings: &mut Vec<String>,
) -> Result<Vec<Entry>, DataError> {
    let number: HashMap<&str, u32> = classes
        .iter()
        .enumerate()
        .map(|(i, c)| (c.as_str(), i as u32))
        .collect();
    if let Ok(text) = std::fs::read_to_string(path.join("val_annotations.txt")) {
        let mut words = text.lines().map(|l| l.split_whitespace());
        let pairs = words
            .by_ref()
            .filter_map(|mut w| Some((w.next()?, w.next()?)));
        return Ok(pairs
            .filter_map(|(file, class)| {
                let label = number.get(class)?;
                Some((path.join("images").join(file), Some(*label)))
            })
            .collect());
    }
    let (own, entries) = labelled(path, warnings)?;
    let map: Vec<Option<u32>> = own
        .iter()
        .map(|c| number.get(c.as_str()).copied())
        .collect();
    for (c, _) in own.iter().zip(&map).filter(|(_, m)| m.is_none()) {
        warnings.push(format!(
            "left out: test class `{c}`, of which there are no training images"
        ));
    }
    Ok(entries
        .into_iter()
        .filter_map(|(f, class)| Some((f, Some(map[class? as usize]?))))
        .collect())
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
    let need = 2 * 3 * images as u64 * (side * side) as u64;
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
/// No images there, or none that decodes.
pub fn open(r: &Request<'_>, path: &Path) -> Result<Split, DataError> {
    let mut warnings = Vec::new();
    let sub = folders(path)?;
    let named = |name: &str| {
        sub.iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, p)| p.clone())
    };
    let train_folder = named("train");
    let (classes, entries) = labelled(train_folder.as_deref().unwrap_or(path), &mut warnings)?;
    if entries.is_empty() {
        return Err(fail(
            path,
            "no images: expected png, jpeg, webp or bmp files, in a folder a class or side by side, or train/ \
             and test/ folders of these; or CIFAR, STL-10 or IDX binary files",
        ));
    }
    let mut test_entries = Vec::new();
    if train_folder.is_some() && !classes.is_empty() {
        // Some sets bring a test folder without labels beside the labelled one (Tiny-ImageNet, ImageNet).
        for folder in TESTS.iter().filter_map(|t| named(t)) {
            let mut said = Vec::new();
            test_entries = tests(&folder, &classes, &mut said)?;
            if !test_entries.is_empty() {
                warnings.append(&mut said);
                break;
            }
            warnings.push(format!(
                "not used: {}, where no folder bears the name of a training class",
                folder.display()
            ));
        }
    }
    let count = entries.len() + test_entries.len();
    fits(path, count, r.stored_size, free_memory())?;
    let (train, sides) = load(r, path, &entries, &mut warnings);
    if train.is_empty() {
        return Err(fail(
            path,
            format!(
                "none of {} images could be decoded; {}",
                entries.len(),
                warnings.first().map_or("", String::as_str)
            ),
        ));
    }
    let (test, _) = load(r, path, &test_entries, &mut warnings);
    let (side, n) = (r.stored_size, classes.len());
    let own = if test.is_empty() {
        String::new()
    } else {
        format!(" and {} test images, the folder's own split", test.len())
    };
    Ok(Split {
        description: format!(
            "image folder, {} training images{}{sides} brought to {side}x{side}{own}",
            train.len(),
            if n > 0 {
                format!(" of {n} classes")
            } else {
                String::new()
            },
        ),
        warnings,
        train,
        labelled: None,
        test,
        classes,
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
