//! Sets of which names and classes are known, and no image is read yet.

use super::load::name_of;
use super::pack::format::{About, SAME_PIXELS};
use super::parts::Parts;
use super::source::{Place, Source, pack};
use super::{DataError, Request, Split, binary, folder, list, shards, there};
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// What is where.
pub(super) struct Listed {
    /// What the data are: the beginning of their description.
    pub what: String,
    /// The data set, for errors.
    pub path: PathBuf,
    /// Names of images are relative to it.
    pub root: PathBuf,
    /// Where the images are.
    pub place: Box<dyn Place>,
    /// Which there are, and for what.
    pub parts: Parts,
    /// What is to be said of how they were found.
    pub notes: Vec<String>,
    /// How they were packed, if they are.
    pub packed: Option<About>,
}

/// What images are at `path`, where no binary set is.
///
/// # Errors
/// Nothing known there.
pub(super) fn find(path: &Path) -> Result<Listed, DataError> {
    if pack::is(path) {
        return pack::list(path);
    }
    match shards::look(path)? {
        Some(found) => Ok(Listed {
            what: found.what,
            path: path.into(),
            root: found.root,
            place: found.place,
            parts: found.parts,
            notes: found.notes,
            packed: None,
        }),
        None if path.is_file() => list::list(path),
        None => folder::list(path),
    }
}

/// What images are at `path`; none where it names `shapes` or a binary set, which are in memory as a whole.
///
/// # Errors
/// Nothing there, or nothing known.
pub(super) fn files(path: &Path) -> Result<Option<Listed>, DataError> {
    if path.as_os_str() == "shapes" {
        return Ok(None);
    }
    there(path)?;
    match path.is_dir() && binary::find(path)?.is_some() {
        true => Ok(None),
        false => find(path).map(Some),
    }
}

impl Listed {
    /// Refuses packed images that were brought to another size, or read otherwise, than is asked for.
    ///
    /// # Errors
    /// What differs.
    pub(super) fn check(&self, r: &Request<'_>) -> Result<(), DataError> {
        let wanted = |is: &About| About {
            side: r.stored_size,
            pixels: r.reading.version,
            exif: r.reading.exif,
            alpha: r.reading.alpha,
            decoder: r.reading.decoder,
            stored: r.reading.kept,
            ..is.clone()
        };
        let packed = self.packed.as_ref();
        match packed.and_then(|is| is.differs(&wanted(is), &SAME_PIXELS)) {
            None => Ok(()),
            Some(why) => Err(DataError::Format {
                path: self.path.clone(),
                reason: format!(
                    "in this packed set {why}: set what it has, or pack the images anew into another folder"
                ),
            }),
        }
    }

    /// Reads the images, or leaves them where they are.
    ///
    /// # Errors
    /// No training image that decodes.
    pub(super) fn open(self, r: &Request<'_>) -> Result<Split, DataError> {
        self.check(r)?;
        let what = match &self.packed {
            Some(is) => format!("packed {} ({})", self.what, is.records),
            None => self.what,
        };
        let paths = [&*self.path, &*self.root];
        folder::read(r, &what, paths, (self.place, &self.parts), self.notes)
    }
}

/// SHA-256, in hexadecimal digits, of what tells a list of images from another: names, classes, and the bytes that each
/// image takes. Times of files are not of it: a copy of a data set is the same data set.
pub(super) fn digest(what: &str, root: &Path, parts: &Parts, source: &dyn Source) -> String {
    let sizes: Vec<Option<u64>> = (0..parts.entries().count() as u32)
        .into_par_iter()
        .map(|image| source.size(image))
        .collect();
    let mut hash = Sha256::new();
    let mut text = |text: &str| {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    };
    text(what);
    parts.classes.iter().for_each(|c| text(c));
    for group in [&parts.bank, &parts.test] {
        let group = group.as_ref().map(|g| (&g.name, g.entries.len()));
        text(&format!("{group:?}"));
    }
    for ((path, label), size) in parts.entries().zip(sizes) {
        // A folder has the same names wherever it is unpacked.
        text(&name_of(path, root).replace('\\', "/"));
        text(&format!("{label:?} {size:?}"));
    }
    hash.finalize().iter().fold(String::new(), |mut out, b| {
        let _ = write!(out, "{b:02x}");
        out
    })
}
