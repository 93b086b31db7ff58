//! A set divided anew by a list (`data.list`): a CSV of names of its images, with labels and parts if these are to be
//! others than the set's. It works on every kind of set, and copies no pixels of those that are not in memory.

use super::columns::{Row, parse};
use super::names::Part;
use super::parts::{images, some};
use super::{DataError, Dataset, Result, Split};
use std::collections::{BTreeSet, HashMap};
use std::path::Path;

/// Divides `set` as the list says. Images are named as `embed` names them: by their files, relative to the set, or by
/// part and number (`train/17`) where they have none. A list without labels keeps the set's.
///
/// # Errors
/// A list that cannot be read or is empty; names that the set does not have or that are listed twice; a label here and
/// none there.
pub(super) fn divide(set: &Split, path: &Path) -> Result<Split> {
    let fail = |reason: String| DataError::Format {
        path: path.into(),
        reason,
    };
    let text = std::fs::read(path).map_err(|source| DataError::Io {
        path: path.into(),
        source,
    })?;
    let groups = [
        &set.train,
        set.labelled.as_ref().unwrap_or(&set.train),
        &set.test,
    ];
    let kept = match set.labelled {
        Some(_) => 3,
        None => 1,
    };
    let mut places: HashMap<String, (usize, usize)> = HashMap::new();
    for (g, (data, part)) in groups.iter().zip(["train", "labelled", "test"]).enumerate() {
        // Without labelled images of their own the second group is the first one again.
        if g == 1 && kept == 1 {
            continue;
        }
        for i in 0..data.len() {
            let name = match data.names.get(i) {
                Some(name) => name.replace('\\', "/"),
                None => format!("{part}/{i}"),
            };
            places.insert(name, (g, i));
        }
    }
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
    let names: BTreeSet<&str> = rows
        .iter()
        .map(|r| &*r.label)
        .filter(|l| !l.is_empty())
        .collect();
    let own: Vec<String> = names.into_iter().map(String::from).collect();
    let label = |row: &Row, (g, i): (usize, usize)| match own.is_empty() {
        true => groups[g].labels.get(i).copied(),
        false => own.binary_search(&row.label).ok().map(|c| c as u32),
    };
    let part = |train: bool| {
        let rows: Vec<&Row> = rows
            .iter()
            .filter(|r| (r.part == Part::Train) == train)
            .collect();
        let picks: Vec<(usize, usize)> = rows.iter().filter_map(|r| find(&r.path)).collect();
        let labels = rows
            .iter()
            .zip(&picks)
            .filter_map(|(r, at)| label(r, *at))
            .collect();
        Dataset::gather(&groups, &picks, labels)
    };
    let (train, test) = (part(true), part(false));
    if train.is_empty() {
        return Err(fail(
            "no image to train on: all lines are of test parts".into(),
        ));
    }
    let whole = |d: &Dataset| d.labels.is_empty() || d.labels.len() == d.len();
    if !(whole(&train) && whole(&test)) {
        let why = "some of the listed images have a label in the set and some have none: give labels in the list";
        return Err(fail(why.into()));
    }
    let mut warnings = set.warnings.clone();
    warnings.extend(table.notes);
    Ok(Split {
        description: format!(
            "{}; of these {} lists {} to train on and {} to test on",
            set.description,
            path.display(),
            images(train.len()),
            test.len()
        ),
        warnings,
        classes: match own.is_empty() {
            true => set.classes.clone(),
            false => own,
        },
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
