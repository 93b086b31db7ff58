//! Sets in few large files: tar shards and parquet files. Which files are of the set, which part each is of, and what
//! labels make classes.
//!
//! - `D/*.tar`, `D/*.parquet`, in `D` itself or some folders down (`D/train/`, `D/data/`); parts by the names of
//!   folders or files (`train-000000.tar`, `validation-00000-of-00014.parquet`);
//! - a folder of the Hugging Face hub's cache, `datasets--ORG--NAME`, of which the snapshot of `refs/main` is read;
//! - one file; `NAME-{000000..000012}.tar`, in which braces hold a range of numbers or names with commas between.

use super::load::Entry;
use super::names::{Part, ending};
use super::parts::{Group, Parts, choose, images, some};
use super::shard_files::files;
use super::source::Place;
use super::{DataError, Result};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};

/// A set of which it is known where its images are and what they are, before one is read.
pub(super) struct Found {
    /// What begins its description.
    pub what: String,
    /// Names of images are relative to it.
    pub root: PathBuf,
    /// Where the images are.
    pub place: Box<dyn Place>,
    /// What is trained and tested on.
    pub parts: Parts,
    /// What is to be said of it.
    pub notes: Vec<String>,
}

pub(super) fn fail(path: &Path, reason: impl Into<String>) -> DataError {
    DataError::Format {
        path: path.into(),
        reason: reason.into(),
    }
}

/// Looks for shards at `path`; none where there are none.
///
/// # Errors
/// Files that are damaged, or compressed so that an image cannot be read alone; several kinds of them; a pattern that
/// stands for files that are not there.
pub(super) fn look(path: &Path) -> Result<Option<Found>> {
    let Some(all) = files(path)? else {
        return Ok(None);
    };
    let (tars, tables): (Vec<&PathBuf>, Vec<&PathBuf>) =
        all.files.iter().partition(|f| ending(f) == "tar");
    match (tars.first(), tables.first()) {
        (Some(tar), Some(table)) => Err(fail(
            path,
            format!(
                "it holds tar files ({}) and parquet files ({}): name the folder of one kind",
                tar.display(),
                table.display()
            ),
        )),
        (_, None) => super::tars::look(path, all).map(Some),
        #[cfg(feature = "tables")]
        (None, _) => super::tables::look(path, all).map(Some),
        #[cfg(not(feature = "tables"))]
        (None, Some(table)) => {
            let reason = "this build reads no parquet files: build it with the feature `tables`";
            Err(fail(table, reason))
        }
    }
}

/// An image with what its label says.
pub(super) type Labelled = (PathBuf, Option<Label>);

/// A label as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Label {
    /// The number of a class.
    Number(u64),
    /// Its name.
    Name(String),
}

impl Label {
    /// A label from a text: a number where it is one. A negative number is none.
    pub fn of(text: &str) -> Option<Self> {
        match text.parse::<i64>() {
            Ok(n) => u64::try_from(n).ok().map(Self::Number),
            Err(_) => Some(Self::Name(text.into())),
        }
    }
}

/// Names of classes, each of which is another: ImageNet has two cranes.
pub(super) fn distinct(names: &[String]) -> Vec<String> {
    let mut seen = HashSet::new();
    let mut out = Vec::with_capacity(names.len());
    for (i, name) in names.iter().enumerate() {
        out.push(match seen.insert(name) {
            true => name.clone(),
            false => format!("{name} ({i})"),
        });
    }
    out
}

/// The images of a part. Where labels are numbers, `names` has the classes' names; where it has not all of them,
/// numbers are the names, and that is said.
pub(super) fn group(part: Part, images_of: Vec<Labelled>, names: &[String]) -> Group {
    let mut out = Group {
        name: part.name().into(),
        ..Group::default()
    };
    let (with, without): (Vec<_>, Vec<_>) = images_of.into_iter().partition(|(_, l)| l.is_some());
    if with.is_empty() {
        out.entries = without.into_iter().map(|(path, _)| (path, None)).collect();
        return out;
    }
    if let Some((first, _)) = without.first() {
        let file = first.file_name().unwrap_or_default().to_string_lossy();
        out.notes.push(format!(
            "left out: {} of {} without a label (first: {file})",
            images(without.len()),
            out.name
        ));
        out.left = without.into_iter().map(|(path, _)| path).collect();
    }
    let numbers: Option<BTreeSet<u64>> = with
        .iter()
        .map(|(_, l)| match l {
            Some(Label::Number(n)) => Some(*n),
            _ => None,
        })
        .collect();
    if let Some(last) = numbers.as_ref().and_then(|n| n.last()) {
        if (*last as usize) < names.len() {
            out.classes = distinct(names);
            let number = |l: Option<Label>| match l {
                Some(Label::Number(n)) => Some(n as u32),
                _ => None,
            };
            out.entries = with.into_iter().map(|(p, l)| (p, number(l))).collect();
            return out;
        }
        if !names.is_empty() {
            out.notes.push(format!(
                "{} classes have names, and {} has label {last}: classes are named by their numbers",
                names.len(),
                out.name
            ));
        }
    }
    // Numbers in their own order, names in theirs.
    let text = |l: &Option<Label>| match l {
        Some(Label::Name(name)) => (u64::MAX, name.clone()),
        Some(Label::Number(n)) if numbers.is_some() => (*n, n.to_string()),
        Some(Label::Number(n)) => (u64::MAX, n.to_string()),
        None => (u64::MAX, String::new()),
    };
    let all: BTreeSet<(u64, String)> = with.iter().map(|(_, l)| text(l)).collect();
    let number: BTreeMap<&(u64, String), u32> = all.iter().zip(0..).collect();
    let entry = |(path, l): &Labelled| -> Entry { (path.clone(), number.get(&text(l)).copied()) };
    out.entries = with.iter().map(entry).collect();
    out.classes = all.iter().map(|(_, name)| name.clone()).collect();
    out
}

/// What is trained and tested on, of the images of each part. Of files that were `named`, what no name calls a part to
/// train on is that all the same.
///
/// # Errors
/// Images to test on alone.
pub(super) fn parts(
    path: &Path,
    named: bool,
    mut by_part: BTreeMap<Part, Vec<Labelled>>,
    names: &[String],
    notes: &mut Vec<String>,
) -> Result<Parts> {
    if named && by_part.len() == 1 {
        by_part = by_part.into_values().map(|v| (Part::Train, v)).collect();
    }
    let Some(train) = by_part.remove(&Part::Train) else {
        let tests: Vec<&str> = by_part.keys().map(|p| p.name()).collect();
        return Err(fail(
            path,
            format!(
                "files of {} alone, and none of training images (train): name a file itself to train on it",
                some(&tests)
            ),
        ));
    };
    let train = group(Part::Train, train, names);
    let tests = by_part.into_iter().map(|(p, v)| group(p, v, names));
    Ok(choose(train, tests.collect(), notes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(labels: &[&str], names: &[&str]) -> Group {
        let images = labels.iter().enumerate().map(|(i, l)| {
            let label = Label::of(l).filter(|_| !l.is_empty());
            (PathBuf::from(i.to_string()), label)
        });
        let names: Vec<String> = names.iter().map(|n| (*n).to_string()).collect();
        group(Part::Train, images.collect(), &names)
    }

    #[test]
    fn labels_are_numbers_with_names_numbers_alone_or_names() {
        let classes = |g: &Group| g.entries.iter().map(|(_, c)| *c).collect::<Vec<_>>();
        let g = named(&["2", "0", "2"], &["ant", "bee", "cat"]);
        assert_eq!(g.classes, ["ant", "bee", "cat"]);
        assert_eq!(classes(&g), [Some(2), Some(0), Some(2)]);
        // In the order of the numbers, not of their digits.
        let g = named(&["10", "9", "10"], &[]);
        assert_eq!(g.classes, ["9", "10"]);
        assert_eq!(classes(&g), [Some(1), Some(0), Some(1)]);
        let g = named(&["10", "9"], &["ant"]);
        assert_eq!(g.classes, ["9", "10"]);
        assert!(g.notes[0].contains("has label 10"), "{:?}", g.notes);
        let g = named(&["bee", "3", "ant"], &[]);
        assert_eq!(g.classes, ["3", "ant", "bee"]);
        let g = named(&["bee", "-1", "ant"], &[]);
        assert_eq!((classes(&g), g.left.len()), (vec![Some(1), Some(0)], 1));
        assert!(g.notes[0].contains("1 image of train without a label (first: 1)"));
        let g = named(&["", ""], &["ant"]);
        assert_eq!((classes(&g), g.classes.len()), (vec![None, None], 0));
        let cranes = named(&["0", "1"], &["crane", "crane"]);
        assert_eq!(cranes.classes, ["crane", "crane (1)"]);
    }
}
