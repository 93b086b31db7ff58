//! What the folders of a data set are: its parts, its classes, or only the way to them.

use super::DataError;
use super::ilsvrc;
use super::names::{Part, ending, is_annotations, is_images, part, part_in};
use super::parts::{Group, Parts, choose, some};
use super::tree::Tree;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Folders that are followed to where the data are: `D/ILSVRC/Data/CLS-LOC/train`.
const LEVELS: usize = 4;
/// Tiny-ImageNet's labels of its test images.
const ANNOTATIONS: &str = "val_annotations.txt";

/// What was found in a folder.
pub(super) struct Found {
    /// What is trained and tested on.
    pub parts: Parts,
    /// Files of labels that were read.
    pub labels: Vec<PathBuf>,
    /// Folders and files that are not used, of which that is said.
    pub said: Vec<PathBuf>,
}

impl Found {
    /// All files that are read.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let images = self.parts.entries().map(|(p, _)| &**p);
        images.chain(self.labels.iter().map(|p| &**p))
    }
}

/// Folders that stand for parts of the data.
#[derive(Default)]
struct Splits<'t> {
    train: Vec<&'t Tree>,
    /// In the order of preference.
    tests: Vec<&'t Tree>,
    /// Others with images.
    others: Vec<&'t Tree>,
    /// A folder that bears a name of training images and holds none that can be read.
    bare: Option<&'t Tree>,
}

impl<'t> Splits<'t> {
    /// Of the folders of `tree` that hold images. A word beside the split's has to occur with both parts: `seg_train`
    /// and `seg_test` are parts, `train_station` is a class.
    fn of(tree: &'t Tree) -> Self {
        let bare = |f: &&Tree| f.images == 0 && part(&f.name()) == Some(Part::Train);
        let mut out = Self {
            bare: tree.folders().find(bare),
            ..Self::default()
        };
        let mut named: BTreeMap<String, Vec<(Part, &Tree)>> = BTreeMap::new();
        for f in with_images(tree) {
            match part_in(&f.name()) {
                Some((part, rest)) => named.entry(rest).or_default().push((part, f)),
                None => out.others.push(f),
            }
        }
        // Names without such a word go first, and those of one word alone before those of several.
        let mut taken = false;
        for (rest, mut group) in named {
            let train = group.iter().any(|(p, _)| *p == Part::Train);
            let test = group.iter().any(|(p, _)| *p != Part::Train);
            if taken || !(rest.is_empty() || (train && test)) {
                out.others.extend(group.into_iter().map(|(_, f)| f));
                continue;
            }
            taken = true;
            group.sort_by_key(|(p, _)| *p);
            for (p, f) in group {
                match p {
                    Part::Train => out.train.push(f),
                    Part::Test(_) => out.tests.push(f),
                }
            }
        }
        out
    }

    /// The folder of training images; none where no folder stands for a part of the data.
    ///
    /// # Errors
    /// Several, or folders of test images alone.
    fn train_folder(&self) -> Result<Option<&'t Tree>, String> {
        match (&self.train[..], self.bare) {
            ([], _) if self.tests.is_empty() => Ok(None),
            ([], Some(bare)) => Err(format!(
                "no image in `{}` can be read; there {}",
                bare.name(),
                bare.there()
            )),
            ([], None) => Err(format!(
                "{} {} a name of test images, and no folder of training images (train) is beside: name that one \
                 `train`, or, if these are classes, rename them or list the images in a CSV",
                names(&self.tests),
                if self.tests.len() == 1 {
                    "bears"
                } else {
                    "bear"
                }
            )),
            ([train], _) => Ok(Some(train)),
            (several, _) => Err(format!(
                "{} all bear a name of training images: put them into one folder, or name one with --data",
                names(several)
            )),
        }
    }
}

fn with_images(tree: &Tree) -> impl Iterator<Item = &Tree> {
    tree.folders().filter(|f| f.images > 0)
}

fn names(folders: &[&Tree]) -> String {
    let names: Vec<String> = folders.iter().map(|f| f.name()).collect();
    some(&names.iter().map(|n| &**n).collect::<Vec<_>>())
}

fn relative(path: &Path, root: &Path) -> String {
    path.strip_prefix(root)
        .unwrap_or(path)
        .display()
        .to_string()
}

/// The folder to look at instead of `tree`: where one folder alone holds images but for annotations, what it leads to.
/// A single folder that leads to no others is a class, and not followed, but for `images`. `inside` a part's folder,
/// the part's name once more is followed too (`train/train`).
fn follow(tree: &Tree, levels: usize, inside: bool) -> &Tree {
    if levels == 0 || tree.own_images().next().is_some() {
        return tree;
    }
    let mut folders: Vec<&Tree> = with_images(tree).collect();
    if folders.iter().any(|f| is_images(&f.name())) {
        folders.retain(|f| !is_annotations(&f.name()));
    }
    let [next] = folders[..] else {
        return tree;
    };
    let split = part_in(&next.name()).is_some_and(|(_, rest)| rest.is_empty());
    if split && !inside {
        return tree;
    }
    let end = follow(next, levels - 1, inside);
    let forks = with_images(end).count() > 1 || !Splits::of(end).train.is_empty();
    match forks || !std::ptr::eq(end, next) || is_images(&next.name()) || split {
        true => end,
        false => tree,
    }
}

/// Classes and files of a folder of class folders; its own files without classes where it has none. One class folder
/// beside images is none: its name would tell nothing.
fn labelled(tree: &Tree) -> Result<Group, String> {
    let folders: Vec<&Tree> = with_images(tree).collect();
    let own = tree.own_images().count();
    let mut out = Group {
        name: tree.name(),
        ..Group::default()
    };
    if folders.is_empty() || (folders.len() == 1 && own > 0) {
        out.entries = tree.own_images().map(|p| (p.clone(), None)).collect();
        return Ok(out);
    }
    let is_set = |f: &&&Tree| {
        let parts: Vec<Part> = with_images(f).filter_map(|f| part(&f.name())).collect();
        parts.contains(&Part::Train) && parts.len() > 1
    };
    let sets: Vec<&Tree> = folders.iter().filter(is_set).copied().collect();
    if !sets.is_empty() {
        return Err(format!(
            "no class, since folders of training and of test images are in it: {}; name one data set, or list the \
             images in a CSV with the columns path, label and split",
            names(&sets)
        ));
    }
    for (class, f) in (0..).zip(&folders) {
        out.classes.push(f.name());
        let files = f.all_images();
        out.entries
            .extend(files.into_iter().map(|p| (p, Some(class))));
    }
    let empty: Vec<&Tree> = tree.folders().filter(|f| f.images == 0).collect();
    if !empty.is_empty() {
        out.notes.push(format!(
            "no class: {} in {}, without an image that can be read",
            names(&empty),
            tree.name()
        ));
    }
    let nested: Vec<&Tree> = folders
        .into_iter()
        .filter(|f| f.own_images().next().is_none() && with_images(f).count() > 1)
        .collect();
    if let Some(first) = nested.first() {
        out.notes.push(format!(
            "the classes are the folders in {}; the names of those below are not used ({} in `{}`)",
            tree.name(),
            with_images(first).count(),
            first.name()
        ));
    }
    Ok(out)
}

/// Test images as Tiny-ImageNet has them: a line `FILE CLASS ..` for each of `images/`. None where there is no such
/// file.
fn annotated(tree: &Tree, notes: &mut Vec<String>) -> Option<(PathBuf, Group)> {
    let file = tree
        .other_files()
        .find(|p| p.file_name().is_some_and(|n| n == ANNOTATIONS))?;
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(e) => {
            notes.push(format!("not used: {}: {e}", file.display()));
            return None;
        }
    };
    let lines = || text.lines().filter(|l| !l.trim().is_empty());
    let pair = |line: &str| -> Option<(PathBuf, String)> {
        let mut words = line.split_whitespace();
        let image = tree.path.join("images").join(words.next()?);
        Some((image, words.next()?.to_string()))
    };
    let pairs: Vec<(PathBuf, String)> = lines().filter_map(pair).collect();
    let odd = lines().count() - pairs.len();
    if odd > 0 {
        notes.push(format!("{}: {odd} lines name no class", file.display()));
    }
    let of: BTreeSet<&String> = pairs.iter().map(|(_, c)| c).collect();
    let classes: Vec<String> = of.into_iter().cloned().collect();
    let number = |c: &String| classes.binary_search(c).ok().map(|i| i as u32);
    let group = Group {
        name: tree.name(),
        entries: pairs.iter().map(|(p, c)| (p.clone(), number(c))).collect(),
        classes,
        ..Group::default()
    };
    Some((file.clone(), group))
}

/// Says what the folders of `tree` are.
///
/// # Errors
/// Folders that may be parts of the data or classes; two folders of training images.
pub(super) fn find(tree: &Tree, notes: &mut Vec<String>) -> Result<Found, DataError> {
    let fail = |reason| DataError::Format {
        path: tree.path.clone(),
        reason,
    };
    let root = follow(tree, LEVELS, false);
    if !std::ptr::eq(root, tree) {
        let at = relative(&root.path, &tree.path);
        notes.push(format!("the images are taken from {at}/"));
    }
    let splits = Splits::of(root);
    let Some(train) = splits.train_folder().map_err(fail)? else {
        let group = labelled(root).map_err(fail)?;
        hint(&group, [tree, root], notes);
        return Ok(Found {
            parts: choose(group, Vec::new(), notes),
            labels: Vec::new(),
            said: Vec::new(),
        });
    };
    let group = labelled(inner(train, root, notes)).map_err(fail)?;
    hint(&group, [tree, root], notes);
    if group.classes.is_empty() && splits.tests.is_empty() && !splits.others.is_empty() {
        return Err(fail(format!(
            "`{}` holds images and no class folders, and {} beside it hold images too: if it is a class, rename it or \
             list the images in a CSV; if it holds the training images, name it with --data",
            train.name(),
            names(&splits.others)
        )));
    }
    let (mut tests, mut labels, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    for t in &splits.tests {
        let mut own = Vec::new();
        let mut test = match annotated(t, &mut own) {
            Some((file, group)) => {
                labels.push(file);
                group
            }
            None => labelled(inner(t, root, &mut own)).map_err(fail)?,
        };
        match ilsvrc::labels(&test, &group.classes, t, [tree, root]) {
            Some(Ok(found)) => {
                labels.extend(found.files);
                refused.extend(found.refused);
                own.extend(found.notes);
                test = found.group;
            }
            Some(Err(why)) => notes.push(why),
            None => (),
        }
        test.name = t.name();
        own.append(&mut test.notes);
        test.notes = own;
        tests.push(test);
    }
    let parts = choose(group, tests, notes);
    let taken = |f: &&&Tree| {
        let groups = parts.test.iter().chain(&parts.bank);
        groups.into_iter().any(|g| g.name == f.name())
    };
    let idle = splits.tests.iter().filter(|f| !taken(f));
    let mut said: Vec<PathBuf> = idle.map(|f| f.path.clone()).chain(refused).collect();
    said.extend(parts.test.iter().flat_map(|t| t.left.iter().cloned()));
    Ok(Found {
        said,
        labels,
        parts,
    })
}

/// Where the images of a part's folder are, and a note if that is deeper.
fn inner<'t>(part: &'t Tree, root: &Tree, notes: &mut Vec<String>) -> &'t Tree {
    let inner = follow(part, LEVELS, true);
    if !std::ptr::eq(inner, part) {
        let at = relative(&inner.path, &root.path);
        notes.push(format!(
            "the images of {} are taken from {at}/",
            part.name()
        ));
    }
    inner
}

/// A note where labels may be in a list beside images without labels.
fn hint(group: &Group, folders: [&Tree; 2], notes: &mut Vec<String>) {
    let list = folders
        .into_iter()
        .flat_map(Tree::other_files)
        .find(|p| matches!(&*ending(p), "csv" | "tsv"));
    if let (true, Some(list)) = (group.classes.is_empty() && !group.entries.is_empty(), list) {
        notes.push(format!(
            "no class folders; if {} lists the images with labels, name it with --data",
            list.display()
        ));
    }
}
