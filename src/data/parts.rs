//! From what was found, in folders or in a list, to what is trained and tested on.

use super::load::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;

/// Classes that a message names.
const NAMED: usize = 5;

/// Image files of one part of a data set.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// Its name: a folder, or a split of a list.
    pub name: String,
    /// Its classes; empty where it is not labelled.
    pub classes: Vec<String>,
    /// Its files, with numbers of `classes`.
    pub entries: Vec<Entry>,
    /// What is to be said of it if it is used.
    pub notes: Vec<String>,
    /// Files that are left out, of which that is among the notes.
    pub left: Vec<PathBuf>,
}

/// What is trained and tested on.
#[derive(Debug, Default)]
pub(super) struct Parts {
    /// Classes of all parts; empty where there are no labels.
    pub classes: Vec<String>,
    /// Images to train on.
    pub train: Vec<Entry>,
    /// Where those to train on have no labels: labelled ones that evaluation learns from.
    pub bank: Option<Group>,
    /// Images to test on. Where those to train on have no labels and there is no `bank`, evaluation learns from a part
    /// of these.
    pub test: Option<Group>,
}

impl Parts {
    /// All files with their classes: those to train on, those of `bank`, those of `test`.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        let groups = self.bank.iter().chain(&self.test);
        self.train.iter().chain(groups.flat_map(|g| &g.entries))
    }
}

/// A number of images, for a message.
pub(super) fn images(count: usize) -> String {
    match count {
        1 => "1 image".into(),
        n => format!("{n} images"),
    }
}

/// Up to five names, for a message.
pub(super) fn some(names: &[&str]) -> String {
    let first: Vec<String> = names.iter().take(NAMED).map(|n| format!("`{n}`")).collect();
    match names.len().saturating_sub(NAMED) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

/// Chooses among test groups, given in the order of preference, and gives them the classes of training.
pub(super) fn choose(train: Group, tests: Vec<Group>, notes: &mut Vec<String>) -> Parts {
    notes.extend(train.notes.iter().cloned());
    if train.classes.is_empty() {
        return unlabelled(train, tests, notes);
    }
    let mut test: Option<Group> = None;
    let mut idle = Vec::new();
    for g in tests {
        if test.is_some() {
            idle.push(g);
        } else if g.classes.is_empty() {
            notes.push(without_labels(&g));
        } else {
            let name = g.name.clone();
            let found = matched(&train.classes, g);
            if found.entries.is_empty() {
                notes.push(format!(
                    "not used: {name}, none of whose classes is one of the training images"
                ));
                continue;
            }
            notes.extend(found.notes.iter().cloned());
            test = Some(found);
        }
    }
    notes.extend(not_used(&test, &idle));
    Parts {
        classes: train.classes,
        train: train.entries,
        bank: None,
        test,
    }
}

fn without_labels(group: &Group) -> String {
    format!(
        "not used: {}, {} without labels",
        group.name,
        images(group.entries.len())
    )
}

/// Which test images are taken, where there are others.
fn not_used(taken: &Option<Group>, idle: &[Group]) -> Option<String> {
    let taken = taken.as_ref().filter(|_| !idle.is_empty())?;
    let count = |g: &Group| format!("{} ({})", g.name, images(g.entries.len()));
    let idle: Vec<String> = idle.iter().map(count).collect();
    Some(format!(
        "the test images are those of {}; not used: {}",
        taken.name,
        idle.join(", ")
    ))
}

/// Images to train on without labels: labelled test images serve evaluation, which learns from the second group.
fn unlabelled(train: Group, tests: Vec<Group>, notes: &mut Vec<String>) -> Parts {
    // One class is no label.
    let (some, none): (Vec<Group>, Vec<Group>) =
        tests.into_iter().partition(|g| g.classes.len() > 1);
    notes.extend(none.iter().map(without_labels));
    let mut some = some.into_iter();
    let (mut test, bank) = (some.next(), some.next());
    let classes = match (&test, &bank) {
        (_, Some(g)) | (Some(g), None) => g.classes.clone(),
        (None, None) => Vec::new(),
    };
    if bank.is_some() {
        test = test.map(|t| matched(&classes, t));
    }
    let used = test.iter().chain(&bank);
    notes.extend(used.flat_map(|g| g.notes.iter().cloned()));
    notes.extend(not_used(&test, some.as_slice()));
    Parts {
        classes,
        train: train.entries,
        bank,
        test,
    }
}

/// A test group with numbers of `classes`. Classes that differ in capitals alone are one where that is clear; images
/// of other classes are left out, and said.
fn matched(classes: &[String], group: Group) -> Group {
    let exact: HashMap<&str, u32> = (0..).zip(classes).map(|(i, c)| (&**c, i)).collect();
    let mut small: HashMap<String, Vec<u32>> = HashMap::new();
    for (i, c) in (0..).zip(classes) {
        small.entry(c.to_lowercase()).or_default().push(i);
    }
    let number = |c: &String| match (exact.get(&**c), small.get(&c.to_lowercase())) {
        (Some(i), _) => Some(*i),
        (None, Some(like)) if like.len() == 1 => Some(like[0]),
        _ => None,
    };
    let numbers: Vec<Option<u32>> = group.classes.iter().map(number).collect();
    let mut notes = group.notes;
    let mut entries = Vec::with_capacity(group.entries.len());
    let mut left = group.left;
    let before = left.len();
    for (path, class) in group.entries {
        match class.map(|c| numbers[c as usize]) {
            Some(Some(n)) => entries.push((path, Some(n))),
            _ => left.push(path),
        }
    }
    let of = |wanted: &dyn Fn(&str, Option<u32>) -> bool| -> Vec<&str> {
        let all = group.classes.iter().zip(&numbers);
        all.filter(|(c, n)| wanted(c, **n))
            .map(|(c, _)| &**c)
            .collect()
    };
    let unknown = of(&|_, n| n.is_none());
    if !unknown.is_empty() {
        notes.push(format!(
            "left out: test class {} ({} of {}), of which there are no training images",
            some(&unknown),
            images(left.len() - before),
            group.name
        ));
    }
    let other = of(&|c, n| n.is_some_and(|n| classes[n as usize] != c));
    if !other.is_empty() {
        let of_training: Vec<&str> = other
            .iter()
            .filter_map(|c| number(&(*c).to_string()))
            .map(|n| &*classes[n as usize])
            .collect();
        notes.push(format!(
            "test class {} is taken for training class {}, which differs in capitals alone",
            some(&other),
            some(&of_training)
        ));
    }
    let tested: BTreeSet<u32> = numbers.iter().flatten().copied().collect();
    let rest: Vec<&str> = (0..)
        .zip(classes)
        .filter(|(i, _)| !tested.contains(i))
        .map(|(_, c)| &**c)
        .collect();
    if !rest.is_empty() {
        notes.push(format!("no test images of {}", some(&rest)));
    }
    Group {
        name: group.name,
        classes: classes.to_vec(),
        entries,
        notes,
        left,
    }
}

/// Class names that differ in capitals alone: perhaps one class in two spellings.
pub(super) fn alike(classes: &[String]) -> Option<String> {
    let mut by: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for c in classes {
        by.entry(c.to_lowercase()).or_default().push(c);
    }
    let twice: Vec<&str> = by.into_values().filter(|c| c.len() > 1).flatten().collect();
    (!twice.is_empty()).then(|| format!("classes that differ in capitals alone: {}", some(&twice)))
}
