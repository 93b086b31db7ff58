//! A set divided anew by a list (`data.list`): a CSV of names of its images, with labels and parts if these are to be
//! others than the set's. Sets of files are divided before an image is read, so that only what is listed counts; sets
//! that are in memory as a whole, when they are.

use super::columns::{Row, parse};
use super::listed::Listed;
use super::load::{Entry, name_of};
use super::names::Part;
use super::parts::{Group, Parts, images, some};
use super::source::chosen::Chosen;
use super::{DataError, Dataset, Result, Split};
use std::collections::{BTreeSet, HashMap};
use std::path::Path;

/// An image of a set that a list takes: its number, and its class.
type Pick = (usize, Option<u32>);

/// What a list takes of a set.
struct Picks {
    train: Vec<Pick>,
    test: Vec<Pick>,
    /// Names of the classes; none where the set's stay.
    classes: Option<Vec<String>>,
    /// Columns that are not used, and the like.
    notes: Vec<String>,
}

impl Picks {
    /// Reads the list at `path` for a set whose images have these names, numbered in their order; `own` tells the class
    /// of an image in the set.
    ///
    /// # Errors
    /// As [`divide`].
    fn read(
        path: &Path,
        names: impl Iterator<Item = String>,
        own: &dyn Fn(usize) -> Option<u32>,
    ) -> Result<Self> {
        let fail = |reason: String| DataError::Format {
            path: path.into(),
            reason,
        };
        let text = std::fs::read(path).map_err(|source| DataError::Io {
            path: path.into(),
            source,
        })?;
        let places: HashMap<String, usize> = names.zip(0..).collect();
        let find = |cell: &str| places.get(&cell.replace('\\', "/")).copied();
        let table = parse(&text, &|cell| find(cell).is_some()).map_err(fail)?;
        let rows = &table.rows;
        if rows.is_empty() {
            return Err(fail("no image: the list is empty".into()));
        }
        let unknown: Vec<&Row> = rows.iter().filter(|r| find(&r.path).is_none()).collect();
        if let [first, ..] = unknown[..] {
            let mut own: Vec<&str> = places.keys().map(String::as_str).collect();
            own.sort_unstable();
            return Err(fail(format!(
                "{} of {} names are of no image of the set, the first in line {}: `{}`; the set's are like {}",
                unknown.len(),
                rows.len(),
                first.line,
                first.path,
                some(&own[..own.len().min(2)])
            )));
        }
        let mut seen = HashMap::new();
        for row in rows {
            if let Some(before) = seen.insert(find(&row.path), row.line) {
                return Err(fail(format!(
                    "`{}` stands in lines {before} and {}",
                    row.path, row.line
                )));
            }
        }
        let bare = rows.iter().filter(|r| r.label.is_empty()).count();
        if bare > 0 && bare < rows.len() {
            let why = format!(
                "some lines have a label and some have none: {bare} of {} have none",
                rows.len()
            );
            return Err(fail(why));
        }
        let labels = rows.iter().map(|r| &*r.label).filter(|l| !l.is_empty());
        let classes: BTreeSet<&str> = labels.collect();
        let classes: Vec<String> = classes.into_iter().map(String::from).collect();
        let part = |train: bool| -> Vec<Pick> {
            let rows = rows.iter().filter(|r| (r.part == Part::Train) == train);
            let pick = |row: &Row| {
                let image = find(&row.path)?;
                let label = match classes.is_empty() {
                    true => own(image),
                    false => classes.binary_search(&row.label).ok().map(|c| c as u32),
                };
                Some((image, label))
            };
            rows.filter_map(pick).collect()
        };
        let (train, test) = (part(true), part(false));
        if train.is_empty() {
            return Err(fail(
                "no image to train on: all lines are of test parts".into(),
            ));
        }
        for picks in [&train, &test] {
            let with = picks.iter().filter(|p| p.1.is_some()).count();
            if with > 0 && with < picks.len() {
                let why = "some of the listed images have a label in the set and some have none: give labels in the list";
                return Err(fail(why.into()));
            }
        }
        Ok(Self {
            train,
            test,
            classes: (!classes.is_empty()).then_some(classes),
            notes: table.notes,
        })
    }
}

/// Divides a set of files, none of which is read, as the list at `path` says: it has the listed images alone, in the
/// list's order. Images are named as `embed` names them, relative to the set. A list without labels keeps the set's.
///
/// # Errors
/// A list that cannot be read or is empty; names that the set does not have or that are listed twice; a label here and
/// none there.
pub(super) fn divide_files(set: Listed, path: &Path) -> Result<Listed> {
    let entries: Vec<Entry> = set.parts.entries().cloned().collect();
    let names = entries.iter().map(|(file, _)| name_of(file, &set.root));
    let names = names.map(|n| n.replace('\\', "/"));
    let picks = Picks::read(path, names, &|image| entries[image].1)?;
    let classes = picks.classes.unwrap_or(set.parts.classes);
    let of = |picks: &[Pick]| -> Vec<Entry> {
        let entry = |(image, label): &Pick| (entries[*image].0.clone(), *label);
        picks.iter().map(entry).collect()
    };
    let parts = Parts {
        train: of(&picks.train),
        bank: None,
        test: (!picks.test.is_empty()).then(|| Group {
            name: "the list".into(),
            classes: classes.clone(),
            entries: of(&picks.test),
            ..Group::default()
        }),
        classes,
    };
    let images = picks.train.iter().chain(&picks.test);
    let chosen = Chosen {
        images: images.map(|(image, _)| *image as u32).collect(),
        of: entries.into_iter().map(|(file, _)| file).collect(),
        place: set.place,
    };
    let mut notes = set.notes;
    notes.extend(picks.notes);
    Ok(Listed {
        what: format!("{}, divided by a list", set.what),
        place: Box::new(chosen),
        parts,
        notes,
        ..set
    })
}

/// Divides a set that is in memory as [`divide_files`] divides others. Images without names are named by part and
/// number (`train/17`).
///
/// # Errors
/// As [`divide_files`].
pub(super) fn divide(set: &Split, path: &Path) -> Result<Split> {
    let mut groups = vec![(&set.train, "train"), (&set.test, "test")];
    groups.extend(set.labelled.as_ref().map(|d| (d, "labelled")));
    let places: Vec<(usize, usize)> = (0..)
        .zip(&groups)
        .flat_map(|(g, (data, _))| (0..data.len()).map(move |i| (g, i)))
        .collect();
    let names = places
        .iter()
        .map(|(g, i)| match groups[*g].0.names.get(*i) {
            Some(name) => name.replace('\\', "/"),
            None => format!("{}/{i}", groups[*g].1),
        });
    let own = |image: usize| {
        let (g, i) = places[image];
        groups[g].0.labels.get(i).copied()
    };
    let picks = Picks::read(path, names, &own)?;
    let sets: Vec<&Dataset> = groups.iter().map(|(data, _)| *data).collect();
    let part = |picks: &[Pick]| {
        let of: Vec<(usize, usize)> = picks.iter().map(|(image, _)| places[*image]).collect();
        let labels = picks.iter().filter_map(|(_, label)| *label).collect();
        Dataset::gather(&sets, &of, labels)
    };
    let (train, test) = (part(&picks.train), part(&picks.test));
    let mut warnings = set.warnings.clone();
    warnings.extend(picks.notes);
    Ok(Split {
        description: format!(
            "{}; of these {} lists {} to train on and {} to test on",
            set.description,
            path.display(),
            images(train.len()),
            test.len()
        ),
        warnings,
        classes: picks.classes.unwrap_or_else(|| set.classes.clone()),
        train,
        labelled: None,
        test,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set() -> Split {
        let part = |n: usize, names: bool| Dataset {
            images: (0..n * 3)
                .map(|i| (i / 3) as u8 + 10 * u8::from(names))
                .collect(),
            labels: (0..n).map(|i| i as u32 % 2).collect(),
            names: (0..n)
                .filter(|_| names)
                .map(|i| format!("a/{i}.png"))
                .collect(),
            ..Dataset::empty(1, 1)
        };
        Split {
            description: "set".into(),
            warnings: Vec::new(),
            train: part(4, true),
            labelled: None,
            test: part(3, false),
            classes: vec!["x".into(), "y".into()],
        }
    }

    fn divided(list: &str) -> std::result::Result<Split, String> {
        let file = tempfile::NamedTempFile::with_suffix(".csv").unwrap();
        std::fs::write(file.path(), list).unwrap();
        divide(&set(), file.path()).map_err(|e| e.to_string())
    }

    #[test]
    fn a_list_takes_images_of_all_parts_in_its_order() {
        let s = divided("path,split\na/2.png,train\ntest/0,train\na/1.png,test\n").unwrap();
        assert_eq!(s.train.images, [12, 12, 12, 0, 0, 0]);
        assert_eq!((s.train.labels, s.test.labels), (vec![0, 0], vec![1]));
        assert_eq!((s.test.images, s.classes.len()), (vec![11; 3], 2));
        let s = divided("path,label,split\na/2.png,dog,train\na/1.png,cat,train\n").unwrap();
        assert_eq!(
            (s.train.labels, s.classes),
            (vec![1, 0], vec!["cat".into(), "dog".into()])
        );
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (list, why) in [
            ("path\nb/2.png\n", "are of no image of the set"),
            ("path\na/2.png\na/2.png\n", "stands in lines 2 and 3"),
            ("path,label\na/2.png,x\na/1.png,\n", "some have none"),
            ("path,split\na/2.png,test\n", "no image to train on"),
        ] {
            let e = divided(list).unwrap_err();
            assert!(e.contains(why), "{list}: {e}");
        }
    }
}
