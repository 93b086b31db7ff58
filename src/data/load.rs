//! Reading many image files: side by side, with what is odd about them said once.

use super::jpeg::Oddity;
use super::pixels::{Alpha, Facts, Reader};
use super::source::{Source, read_patiently};
use super::{Dataset, Request};
use rayon::prelude::*;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Files that are named one by one.
const NAMED: usize = 10;
/// Files that are named as examples.
const EXAMPLES: usize = 3;

/// An image file and its class.
pub(super) type Entry = (PathBuf, Option<u32>);

/// Name of an image: its path relative to the data set.
pub(super) fn name_of(path: &Path, root: &Path) -> String {
    let name = path.strip_prefix(root).unwrap_or(path);
    name.to_string_lossy().into_owned()
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

/// Files of one kind: how many, and the first few.
#[derive(Debug, Default)]
struct Kind {
    count: usize,
    first: Vec<String>,
}

impl Kind {
    fn add(&mut self, name: &str) {
        self.count += 1;
        if self.first.len() < EXAMPLES {
            self.first.push(name.into());
        }
    }

    /// `3 of 20 images WHAT (a.jpg, b.jpg, c.jpg)THEN`; none where there is no such file.
    fn line(&self, all: usize, what: &str, then: &str) -> Option<String> {
        let more = match self.count > self.first.len() {
            true => ", ..",
            false => "",
        };
        let first = self.first.join(", ");
        let line = format!(
            "{} of {all} images {what} ({first}{more}){then}",
            self.count
        );
        (self.count > 0).then_some(line)
    }
}

/// Reads the files of all parts of a data set, and counts what is worth knowing of them.
pub(super) struct Loader<'a> {
    request: &'a Request<'a>,
    root: &'a Path,
    read: usize,
    tried: usize,
    failed: Vec<String>,
    lying: Kind,
    alpha: Kind,
    transparent: usize,
    endless: Kind,
    odd: Kind,
}

impl<'a> Loader<'a> {
    /// Names of images will be relative to `root`.
    pub(super) fn new(request: &'a Request<'a>, root: &'a Path) -> Self {
        Self {
            request,
            root,
            read: 0,
            tried: 0,
            failed: Vec::new(),
            lying: Kind::default(),
            alpha: Kind::default(),
            transparent: 0,
            endless: Kind::default(),
            odd: Kind::default(),
        }
    }

    /// Reads the files of a part, several at once, in their order: images `first` and following of `source`. Those that
    /// fail are left out.
    pub(super) fn load(
        &mut self,
        (source, first): (&dyn Source, usize),
        entries: &[Entry],
    ) -> (Dataset, Sides) {
        let (r, done) = (self.request, AtomicUsize::new(0));
        let (side, bytes) = (r.stored_size, 3 * r.stored_size * r.stored_size);
        let mut out = Dataset::empty(side, side);
        out.images = vec![0; bytes * entries.len()];
        let read: Vec<Result<Facts, String>> = out
            .images
            .par_chunks_exact_mut(bytes.max(1))
            .zip(entries)
            .enumerate()
            .map_init(Reader::default, |reader, (i, (out, (path, _)))| {
                let bytes = read_patiently(source, (first + i) as u32, reader.file());
                let facts = bytes.map_err(|e| e.to_string());
                let facts = facts.and_then(|()| reader.decode(path, r.reading, side as u32, out));
                (r.progress)(done.fetch_add(1, Ordering::Relaxed) + 1, entries.len());
                facts
            })
            .collect();
        self.tried += entries.len();
        let mut sides = Sides::default();
        for (i, (facts, (path, label))) in read.into_iter().zip(entries).enumerate() {
            let name = name_of(path, self.root);
            match facts {
                Ok(facts) => {
                    let to = out.names.len() * bytes;
                    out.images.copy_within(i * bytes..(i + 1) * bytes, to);
                    sides.add(facts.side);
                    self.count(&name, facts);
                    out.labels.extend(label);
                    out.names.push(name);
                }
                Err(e) => self
                    .failed
                    .push(format!("left out: {}: {e}", path.display())),
            }
        }
        out.images.truncate(out.names.len() * bytes);
        (out, sides)
    }

    fn count(&mut self, name: &str, facts: Facts) {
        self.read += 1;
        self.transparent += usize::from(facts.transparent);
        for (kind, is) in [
            (&mut self.lying, facts.lies),
            (&mut self.alpha, facts.alpha),
            (&mut self.endless, facts.oddity == Some(Oddity::NoEnd)),
            (&mut self.odd, facts.oddity == Some(Oddity::Header)),
        ] {
            if is {
                kind.add(name);
            }
        }
    }

    /// Why the first file that failed did, if one did.
    pub(super) fn first_failure(&self) -> &str {
        self.failed.first().map_or("", String::as_str)
    }

    /// What was left out, and what is odd about the rest, a line a kind.
    pub(super) fn warnings(&self) -> Vec<String> {
        let how = self.request.reading;
        let mut out: Vec<String> = self.failed.iter().take(NAMED).cloned().collect();
        if !self.failed.is_empty() {
            let (failed, tried) = (self.failed.len(), self.tried);
            out.push(format!("{failed} of {tried} files could not be decoded"));
        }
        let whole = "; their pixels are whole";
        out.extend(
            self.endless
                .line(self.read, "lack the end marker of a JPEG", whole),
        );
        let odd = "have bytes in the header of a JPEG that belong to nothing";
        out.extend(self.odd.line(self.read, odd, whole));
        out.extend(match how.exif {
            true => self.lying.line(
                self.read,
                "lie on their side or mirrored in their files",
                ": they are turned as EXIF says (data.exif = false: as they lie)",
            ),
            false => self.lying.line(
                self.read,
                "lie on their side or mirrored in their files, as EXIF says",
                ": they are not turned, since data.exif is false",
            ),
        });
        let transparent = self.transparent;
        let then = match (transparent, how.alpha) {
            (0, _) => ", opaque everywhere".into(),
            (n, Alpha::Drop) => format!(
                ", {n} with transparent pixels: it is dropped, and these show their hidden colours (data.alpha = \
                 \"white\": they are laid on white)"
            ),
            (n, Alpha::White) => format!(", {n} with transparent pixels: these are laid on white"),
        };
        out.extend(self.alpha.line(self.read, "have an alpha channel", &then));
        out
    }
}
