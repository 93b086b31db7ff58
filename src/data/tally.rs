//! What is worth knowing of many images that were read, said once a kind.

use super::jpeg::Oddity;
use super::pixels::{Alpha, Facts, Reading};

/// Files that are named one by one, where nobody asks for all.
pub(super) const NAMED: usize = 10;
/// Files that are named as examples.
const EXAMPLES: usize = 3;

/// Shortest and longest side of the images of a set as they are in their files, in words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sides(Option<(u32, u32)>);

impl Sides {
    pub(super) fn add(&mut self, (w, h): (u32, u32)) {
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

/// Counts images by what is odd about them.
#[derive(Debug, Default)]
pub(super) struct Tally {
    read: usize,
    tried: usize,
    failed: Vec<String>,
    lying: Kind,
    long: Kind,
    alpha: Kind,
    transparent: usize,
    endless: Kind,
    odd: Kind,
}

impl Tally {
    /// Counts an image that was read.
    pub(super) fn add(&mut self, name: &str, facts: Facts) {
        self.tried += 1;
        self.read += 1;
        self.transparent += usize::from(facts.transparent);
        for (kind, is) in [
            (&mut self.lying, facts.lies),
            (&mut self.long, facts.long),
            (&mut self.alpha, facts.alpha),
            (&mut self.endless, facts.oddity == Some(Oddity::NoEnd)),
            (&mut self.odd, facts.oddity == Some(Oddity::Header)),
        ] {
            if is {
                kind.add(name);
            }
        }
    }

    /// Counts an image that could not be read. `file` names it.
    pub(super) fn fail(&mut self, file: &str, why: &str) {
        self.tried += 1;
        self.failed.push(format!("left out: {file}: {why}"));
    }

    /// Images that could not be read.
    pub(super) fn failures(&self) -> usize {
        self.failed.len()
    }

    /// Why the first file that failed did, if one did.
    pub(super) fn first_failure(&self) -> &str {
        self.failed.first().map_or("", String::as_str)
    }

    /// What was left out, a line for each of the first `named`, and what is odd about the rest, a line a kind.
    pub(super) fn warnings(&self, how: Reading, named: usize) -> Vec<String> {
        let mut out: Vec<String> = self.failed.iter().take(named).cloned().collect();
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
        out.extend(self.long.line(
            self.read,
            "are more than twice as long as wide",
            ": the middle of them is kept, of two to one",
        ));
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
