//! Tar files as a data set.
//!
//! Where images have labels beside them as WebDataset has them (members of one name up to the first dot: an image, and
//! `.cls`, `.json` with a field `label`, or `.txt`), these make the classes, and the order is that of the files.
//! Elsewhere the members' paths are read as a folder's are (`data::layout`): `n01440764/x.JPEG` has its class. A tar
//! file in a tar file stands for a folder of its name, and so does each of several that are named as classes are
//! (ImageNet's `n01440764.tar`).

use super::layout;
use super::names::Part;
use super::parts::some;
use super::shard_files::{self, Files};
use super::shards::{self, Found, Label, Labelled, fail};
use super::source::tar::Tars;
use super::source::tar_index::{Index, Kind, key};
use super::tree::Tree;
use super::{DataError, Result};
use rayon::prelude::*;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Lines of what is wrong that are said.
const NAMED: usize = 10;
/// Files of class names beside the shards: a name a line, ...
const LINES: [&str; 3] = ["classes.txt", "classnames.txt", "class_names.txt"];
/// ... or JSON with a list of them ...
const OBJECTS: [&str; 6] = [
    "classes.json",
    "dataset-info.json",
    "dataset_info.json",
    "dataset_infos.json",
    "_info.json",
    "info.json",
];
/// ... under one of these keys.
const KEYS: [&str; 5] = [
    "names",
    "classes",
    "class_names",
    "classnames",
    "label_names",
];

/// A tar file with what is in it.
struct Shard {
    /// Its number among the files.
    file: usize,
    part: Part,
    index: Index,
}

/// Looks at tar files.
///
/// # Errors
/// One that is none, or compressed; images to test on alone; what [`layout::find`] refuses.
pub(super) fn look(path: &Path, mut all: Files) -> Result<Found> {
    let mut notes = std::mem::take(&mut all.notes);
    let of = shard_files::parts_of(&all, &mut notes);
    let read = |(file, part): (usize, Option<Part>)| -> Option<Result<(Shard, bool)>> {
        let part = part?;
        let index = Index::of(&all.files[file]).map_err(|e| refused(&all.files[file], e));
        Some(index.map(|(index, kept)| (Shard { file, part, index }, kept)))
    };
    let found: Vec<_> = of
        .into_par_iter()
        .enumerate()
        .filter_map(read)
        .collect::<Result<_>>()?;
    let loose = found.iter().filter(|(_, kept)| !kept).count();
    if loose > 0 {
        notes.push(format!(
            "the index of {loose} tar files is made anew at each start, since their folder takes no file"
        ));
    }
    let found: Vec<Shard> = found.into_iter().map(|(shard, _)| shard).collect();
    say_what_is_odd(&found, &all, &mut notes);
    if found.iter().all(|s| s.index.images.is_empty()) {
        return Err(fail(path, "there is no image in the tar file or files"));
    }
    let mut tars = Tars::new(&all.root, all.files.clone());
    let parts = match labelled(&found, &mut tars, &mut notes) {
        Some(by_part) => {
            let names = class_names(&all.root, &mut notes);
            shards::parts(path, all.named, by_part, &names, &mut notes)?
        }
        None => {
            let tree = tree(path, &found, &all, &mut tars, &mut notes);
            layout::find(&tree, &mut notes)?.parts
        }
    };
    let what = match found.len() {
        1 => "a tar file".into(),
        n => format!("{n} tar files"),
    };
    Ok(Found {
        what,
        root: all.root,
        place: Box::new(tars),
        parts,
        notes,
    })
}

/// Why a file cannot be looked at.
fn refused(path: &Path, e: std::io::Error) -> DataError {
    let mut head = [0; 6];
    let begins = std::fs::File::open(path).and_then(|mut f| f.read(&mut head));
    let packed: [&[u8]; 4] = [b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ\0"];
    if begins.is_ok() && packed.iter().any(|p| head.starts_with(p)) {
        return fail(path, shard_files::compressed());
    }
    match e.kind() {
        std::io::ErrorKind::Other | std::io::ErrorKind::UnexpectedEof => {
            fail(path, format!("no tar file, or a damaged one: {e}"))
        }
        _ => DataError::Io {
            path: path.into(),
            source: e,
        },
    }
}

/// Says what is wrong with the files, and which members are not used.
fn say_what_is_odd(found: &[Shard], all: &Files, notes: &mut Vec<String>) {
    let named = |s: &Shard| all.files[s.file].display().to_string();
    let wrong: Vec<String> = found
        .iter()
        .flat_map(|s| s.index.wrong.iter().map(|w| format!("{}: {w}", named(s))))
        .collect();
    notes.extend(wrong.iter().take(NAMED).cloned());
    if wrong.len() > NAMED {
        notes.push(format!("{} more lines of this kind", wrong.len() - NAMED));
    }
    let mut others: BTreeMap<&str, usize> = BTreeMap::new();
    for (of, count) in found.iter().flat_map(|s| &s.index.others) {
        *others.entry(of).or_default() += count;
    }
    let kinds: Vec<String> = others
        .iter()
        .map(|(of, count)| match *of {
            "" => format!("{count} without an ending"),
            of => format!("{count} .{of}"),
        })
        .collect();
    if !kinds.is_empty() {
        notes.push(format!(
            "not used: members that are no images: {}",
            kinds.join(", ")
        ));
    }
}

/// Images with the labels that stand beside them; none where there are none.
fn labelled(
    found: &[Shard],
    tars: &mut Tars,
    notes: &mut Vec<String>,
) -> Option<BTreeMap<Part, Vec<Labelled>>> {
    // Of an image's key, the label; and whether it is a text alone.
    let label = |s: &Shard, key: &str| s.index.labels.get(key).map(|(k, l)| (*k, l.clone()));
    let all = || {
        let each = |s: &'_ Shard| -> Vec<(Kind, String)> {
            let keys = s.index.images.iter().map(|m| key(&m.name).0);
            keys.filter_map(|k| label(s, k)).collect()
        };
        found.iter().flat_map(each)
    };
    let sure = all().any(|(k, _)| k != Kind::Text);
    if !sure {
        let texts: Vec<String> = all().map(|(_, l)| l).collect();
        let unlike: BTreeSet<&String> = texts.iter().collect();
        if 2 * unlike.len() > texts.len() {
            notes.push(format!(
                "the .txt members beside images are taken for captions, not for classes: {} of {} are unlike",
                unlike.len(),
                texts.len()
            ));
            return None;
        }
        if texts.is_empty() {
            return None;
        }
    }
    let mut out: BTreeMap<Part, Vec<Labelled>> = BTreeMap::new();
    let mut more: Vec<&str> = Vec::new();
    for s in found {
        // Of several images of a key, the one that has the shortest ending: not `x.mask.png`, but `x.jpg`.
        let mut chosen: HashMap<&str, &str> = HashMap::new();
        let dots = |name: &str| key(name).1.matches('.').count();
        for m in &s.index.images {
            let own = chosen.entry(key(&m.name).0).or_insert(&m.name);
            if dots(&m.name) < dots(own) {
                *own = &m.name;
            }
        }
        for m in &s.index.images {
            let of = key(&m.name).0;
            if chosen.get(of) != Some(&&*m.name) {
                more.push(&m.name);
                continue;
            }
            let label = label(s, of).filter(|(k, _)| !sure || *k != Kind::Text);
            let entry = (tars.add(s.file, m), label.and_then(|(_, l)| Label::of(&l)));
            out.entry(s.part).or_default().push(entry);
        }
    }
    if !more.is_empty() {
        notes.push(format!(
            "left out: {} further images beside one of the same name: {}",
            more.len(),
            some(&more)
        ));
    }
    Some(out)
}

/// The members as a folder's files.
fn tree(
    path: &Path,
    found: &[Shard],
    all: &Files,
    tars: &mut Tars,
    notes: &mut Vec<String>,
) -> Tree {
    let parts: BTreeSet<Part> = found.iter().map(|s| s.part).collect();
    let mut names = Vec::new();
    let mut by_file = false;
    for part in &parts {
        let of: Vec<&Shard> = found.iter().filter(|s| s.part == *part).collect();
        let stem = |s: &Shard| {
            let stem = all.files[s.file].file_stem().unwrap_or_default();
            stem.to_string_lossy().into_owned()
        };
        let stems: Vec<String> = of.iter().map(|s| stem(s)).collect();
        let flat = of
            .iter()
            .all(|s| s.index.images.iter().all(|m| !m.name.contains('/')));
        let classes = flat && are_classes(&stems);
        by_file |= classes;
        for (s, stem) in of.iter().zip(&stems) {
            for m in &s.index.images {
                let mut name = m.name.clone();
                if classes {
                    name = format!("{stem}/{name}");
                }
                if parts.len() > 1 {
                    name = format!("{}/{name}", part.name());
                }
                names.push((name, tars.add(s.file, m)));
            }
        }
    }
    if by_file {
        notes.push("the tar files are named as classes are: each holds the images of one".into());
    }
    Tree::of_names(path.into(), names)
}

/// Are these names of files, each of a class, and not numbers of shards? ImageNet's are a letter and eight digits.
fn are_classes(stems: &[String]) -> bool {
    let synset = |s: &String| {
        let digits = s.strip_prefix('n').unwrap_or_default();
        digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_digit())
    };
    if stems.len() < 2 {
        return false;
    }
    let bare: BTreeSet<&str> = stems
        .iter()
        .map(|s| s.trim_end_matches(|c: char| c.is_ascii_digit()))
        .collect();
    let word = |s: &&str| s.chars().any(char::is_alphabetic);
    stems.iter().all(synset) || (bare.len() == stems.len() && bare.iter().all(word))
}

/// Names of the classes, from a file beside the shards; empty where there is none.
fn class_names(root: &Path, notes: &mut Vec<String>) -> Vec<String> {
    let root = match root.is_file() {
        true => root.parent().unwrap_or(Path::new("")),
        false => root,
    };
    let text = |name: &str| {
        let file = root.join(name);
        Some((std::fs::read_to_string(&file).ok()?, file))
    };
    let lines = |text: String| {
        text.trim_end()
            .lines()
            .map(|l| l.trim().to_string())
            .collect()
    };
    let listed = LINES
        .iter()
        .filter_map(|n| text(n))
        .map(|(t, f)| (lines(t), f));
    let object = |(text, file): (String, PathBuf)| {
        let value: Value = serde_json::from_str(&text).ok()?;
        Some((list(&value)?, file))
    };
    let objects = OBJECTS.iter().filter_map(|n| text(n)).filter_map(object);
    let mut all = listed
        .chain(objects)
        .filter(|(names, _): &(Vec<String>, _)| !names.is_empty());
    let Some((names, file)) = all.next() else {
        return Vec::new();
    };
    notes.push(format!(
        "names of the classes are those of {}",
        file.display()
    ));
    names
}

/// The first list of names in it, whole or under one of [`KEYS`].
fn list(value: &Value) -> Option<Vec<String>> {
    let texts = |v: &Value| -> Option<Vec<String>> {
        let texts = v.as_array()?.iter().map(|t| t.as_str().map(str::to_string));
        texts
            .collect::<Option<Vec<String>>>()
            .filter(|t| !t.is_empty())
    };
    if let Some(all) = texts(value) {
        return Some(all);
    }
    let object = value.as_object()?;
    let own = KEYS.iter().find_map(|k| texts(object.get(*k)?));
    own.or_else(|| object.values().filter(|v| v.is_object()).find_map(list))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_are_classes_or_numbers() {
        let are = |stems: &[&str]| {
            are_classes(&stems.iter().map(|s| (*s).to_string()).collect::<Vec<_>>())
        };
        assert!(are(&["cat", "dog"]) && are(&["n01440764", "n01443537"]));
        for shards in [
            &["000000", "000001"][..],
            &["train-000000", "train-000001"],
            &["a-0", "a-1"],
            &["cat"],
        ] {
            assert!(!are(shards), "{shards:?}");
        }
    }

    #[test]
    fn lists_of_names_are_found_in_json() {
        let of = |text: &str| list(&serde_json::from_str(text).unwrap());
        let two = Some(vec!["ant".to_string(), "bee".to_string()]);
        assert_eq!(of(r#"["ant", "bee"]"#), two);
        assert_eq!(of(r#"{"a": 1, "classes": ["ant", "bee"]}"#), two);
        let hub =
            r#"{"features": {"image": {"_type": "Image"}, "label": {"names": ["ant", "bee"]}}}"#;
        assert_eq!(of(hub), two);
        assert_eq!(
            of(r#"{"splits": {"train": {"filenames": ["a.tar"]}}}"#),
            None
        );
    }
}
