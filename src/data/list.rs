//! CSV lists of images: columns `path` (relative to the list's folder, or absolute), and, where there are labels,
//! `label` (any text) and `split` (`train`, `test` or another name of such a part). The first line names the columns,
//! which have other names too (`data::columns`); without it, they are path, label, split.

use super::DataError;
use super::columns::{Row, parse, splits};
use super::listed::Listed;
use super::load::Entry;
use super::names::{Part, ending};
use super::parts::{Group, Parts, choose, images};
use super::source::files::Folder;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

/// Folders beside a list that its paths may be relative to.
const FOLDERS: [&str; 5] = ["", "images", "image", "imgs", "img"];

/// What is in a list; no image is opened.
///
/// # Errors
/// As [`parts`].
pub(super) fn list(path: &Path) -> Result<Listed, DataError> {
    let (parts, notes) = parts(path)?;
    let root = path.parent().unwrap_or(Path::new(""));
    Ok(Listed {
        what: "CSV list".into(),
        path: path.into(),
        root: root.into(),
        place: Box::new(Folder(root.into())),
        parts,
        notes,
        packed: None,
    })
}

/// Is it the ending of a file in which others are packed?
pub(super) fn is_packed(ending: &str) -> bool {
    matches!(
        ending,
        "zip" | "gz" | "tgz" | "bz2" | "xz" | "zst" | "7z" | "rar"
    )
}

/// What a list's parts are, and what is to be said of them; no image is opened.
///
/// # Errors
/// No CSV, no images, a label here and none there.
pub(super) fn parts(path: &Path) -> Result<(Parts, Vec<String>), DataError> {
    let fail = |reason: String| DataError::Format {
        path: path.into(),
        reason,
    };
    let kind = ending(path);
    if !matches!(&*kind, "csv" | "tsv") {
        let tar = path.to_string_lossy().to_lowercase();
        let tar = tar.contains(".tar.") || kind == "tgz";
        return Err(fail(match is_packed(&kind) {
            true if tar => super::shard_files::compressed().into(),
            true => "a packed file: unpack it, and name the folder".into(),
            false => "a file, but no CSV list (.csv, .tsv) of images, no .tar and no .parquet; expected one of these, \
                      or a folder"
                .into(),
        }));
    }
    let data = std::fs::read(path).map_err(|source| DataError::Io {
        path: path.into(),
        source,
    })?;
    let root = path.parent().unwrap_or(Path::new(""));
    let is_file = |cell: &str| FOLDERS.iter().any(|f| place(&root.join(f), cell).is_file());
    let table = parse(&data, &is_file).map_err(fail)?;
    let mut notes = table.notes;
    if table.rows.is_empty() {
        return Err(fail("no training image: the list is empty".into()));
    }
    // The folder that holds one of the files at least; paths of one list are relative to one folder.
    let holds = |f: &&&str| {
        table
            .rows
            .iter()
            .any(|row| place(&root.join(f), &row.path).is_file())
    };
    let folder = FOLDERS.iter().find(holds).unwrap_or(&"");
    if !folder.is_empty() {
        notes.push(format!("paths are relative to {folder}/ beside the list"));
    }
    let rows = once(&root.join(folder), table.rows, &mut notes);
    let (train, test): (Vec<_>, Vec<_>) =
        rows.into_iter().partition(|(_, r)| r.part == Part::Train);
    let bare = |rows: &[(PathBuf, Row)]| rows.iter().filter(|(_, r)| r.label.is_empty()).count();
    let (none, all) = (bare(&train), train.len());
    if none > 0 && none < all {
        let first = train.iter().find(|(_, r)| r.label.is_empty());
        return Err(fail(format!(
            "some lines have a label and some have none: {none} of {all} images to train on have none, the first in \
             line {}",
            first.map_or(0, |(_, r)| r.line)
        )));
    }
    let without = bare(&test);
    let parts = if none == all && without == test.len() {
        Parts {
            train: group(&train).entries,
            test: (!test.is_empty()).then(|| group(&test)),
            ..Parts::default()
        }
    } else {
        if without > 0 {
            notes.push(format!(
                "left out: {} to test on without a label",
                images(without)
            ));
        }
        let (_, test): (Vec<_>, Vec<_>) = test.into_iter().partition(|(_, r)| r.label.is_empty());
        let tests = if test.is_empty() {
            Vec::new()
        } else {
            vec![group(&test)]
        };
        choose(group(&train), tests, &mut notes)
    };
    Ok((parts, notes))
}

/// Where a path of the list is. One written with backslashes is read so where it is no file as it stands.
fn place(root: &Path, path: &str) -> PathBuf {
    let whole = root.join(path);
    if path.contains('\\') && !whole.is_file() {
        return root.join(path.replace('\\', "/"));
    }
    whole
}

/// A path without `.` and `..`, so that two spellings of a file are one.
fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for c in path.components() {
        match c {
            Component::CurDir => (),
            Component::ParentDir if out.file_name().is_some() => {
                out.pop();
            }
            c => out.push(c),
        }
    }
    out
}

/// Files that are listed again, in one of the ways in which that can be.
#[derive(Default)]
struct Again {
    count: usize,
    first: Option<String>,
}

impl Again {
    fn add(&mut self, before: &Row, row: &Row) {
        self.count += 1;
        let lines = || format!("{} in lines {} and {}", row.path, before.line, row.line);
        self.first.get_or_insert_with(lines);
    }

    fn note(&self, what: &str, notes: &mut Vec<String>) {
        if let Some(first) = &self.first {
            notes.push(format!("{what}: {} (first: {first})", self.count));
        }
    }
}

/// Every file once, with its place, in the order of the list. Which lines are dropped is noted.
fn once(root: &Path, rows: Vec<Row>, notes: &mut Vec<String>) -> Vec<(PathBuf, Row)> {
    let mut out: Vec<(PathBuf, Row)> = Vec::with_capacity(rows.len());
    let mut seen: BTreeMap<PathBuf, usize> = BTreeMap::new();
    let [mut twice, mut labels, mut both] = [(); 3].map(|()| Again::default());
    for row in rows {
        let path = place(root, &row.path);
        let Some(at) = seen.get(&plain(&path)) else {
            seen.insert(plain(&path), out.len());
            out.push((path, row));
            continue;
        };
        let before = &mut out[*at].1;
        let test = |r: &Row| r.part != Part::Train;
        if test(before) != test(&row) {
            both.add(before, &row);
            if test(&row) {
                *before = row;
            }
        } else if before.label != row.label {
            labels.add(before, &row);
        } else {
            twice.add(before, &row);
        }
    }
    twice.note("lines that list a file again, which is taken once", notes);
    labels.note(
        "lines that list a file again with another label, the first being taken",
        notes,
    );
    both.note(
        "files listed both to train and to test on, which are tested on alone",
        notes,
    );
    out
}

/// The rows of a part.
fn group(rows: &[(PathBuf, Row)]) -> Group {
    let names: BTreeSet<&str> = rows.iter().map(|(_, r)| &*r.label).collect();
    let classes: Vec<String> = names
        .into_iter()
        .filter(|c| !c.is_empty())
        .map(ToString::to_string)
        .collect();
    let number = |r: &Row| classes.binary_search(&r.label).ok().map(|i| i as u32);
    let entries: Vec<Entry> = rows.iter().map(|(p, r)| (p.clone(), number(r))).collect();
    Group {
        name: format!("split {}", splits(rows.iter().map(|(_, r)| r)).join(", ")),
        classes,
        entries,
        ..Group::default()
    }
}
