//! Reading many image files: side by side, with what is odd about them said once.

use super::pixels::{Facts, Kept, Reader};
use super::source::{Fault, Source};
use super::stored::fetch;
use super::tally::{NAMED, Sides, Tally};
use super::{DataError, Dataset, Request};
use rayon::prelude::*;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// An image file and its class.
pub(super) type Entry = (PathBuf, Option<u32>);

/// Name of an image: its path relative to the data set.
pub(super) fn name_of(path: &Path, root: &Path) -> String {
    let name = path.strip_prefix(root).unwrap_or(path);
    name.to_string_lossy().into_owned()
}

/// Reads the files of all parts of a data set, and counts what is worth knowing of them.
pub(super) struct Loader<'a> {
    request: &'a Request<'a>,
    root: &'a Path,
    tally: Tally,
}

impl<'a> Loader<'a> {
    /// Names of images will be relative to `root`.
    pub(super) fn new(request: &'a Request<'a>, root: &'a Path) -> Self {
        Self {
            request,
            root,
            tally: Tally::default(),
        }
    }

    /// Reads the files of a part, several at once, in their order: images `first` and following of `source`. Those that
    /// fail are left out.
    ///
    /// # Errors
    /// A packed set that is damaged.
    pub(super) fn load(
        &mut self,
        (source, first): (&dyn Source, usize),
        entries: &[Entry],
    ) -> Result<(Dataset, Sides), DataError> {
        let (r, done) = (self.request, AtomicUsize::new(0));
        let (side, (height, width)) = (r.stored_size, r.room());
        let bytes = 3 * height * width;
        let mut out = Dataset::empty(height, width);
        out.images = vec![0; bytes * entries.len()];
        let read: Vec<Result<Facts, Fault>> = out
            .images
            .par_chunks_exact_mut(bytes.max(1))
            .enumerate()
            .map_init(Reader::default, |reader, (i, out)| {
                let image = (first + i) as u32;
                let facts = fetch(source, image, reader, (r.reading, side), out);
                (r.progress)(done.fetch_add(1, Ordering::Relaxed) + 1, entries.len());
                facts
            })
            .collect();
        let mut sides = Sides::default();
        for (i, (facts, (path, label))) in read.into_iter().zip(entries).enumerate() {
            let name = name_of(path, self.root);
            match facts {
                Ok(facts) => {
                    let to = out.names.len() * bytes;
                    out.images.copy_within(i * bytes..(i + 1) * bytes, to);
                    sides.add(facts.side);
                    if r.reading.kept != Kept::Square {
                        out.sides.push(facts.kept);
                    }
                    self.tally.add(&name, facts);
                    out.labels.extend(label);
                    out.names.push(name);
                }
                Err(Fault::Corrupt(reason)) => {
                    return Err(DataError::Format {
                        path: self.root.into(),
                        reason: format!("{name}: {reason}"),
                    });
                }
                Err(e) => self.tally.fail(&path.display().to_string(), &e.to_string()),
            }
        }
        out.images.truncate(out.names.len() * bytes);
        Ok((out, sides))
    }

    /// Why the first file that failed did, if one did.
    pub(super) fn first_failure(&self) -> &str {
        self.tally.first_failure()
    }

    /// What was left out, and what is odd about the rest, a line a kind.
    pub(super) fn warnings(&self) -> Vec<String> {
        self.tally.warnings(self.request.reading, NAMED)
    }
}
