//! Labels of ImageNet's validation images where they lie in one folder, without class folders.
//!
//! Classes are the synsets that the folders of training images are named by (`n01440764`). Files that say an image's
//! synset by itself:
//! - `LOC_val_solution.csv` (Kaggle): image, then the synset and boxes;
//! - a list named after the folder (`val.csv`, `val_labels.tsv`, `val.txt`): name and synset, in either order;
//! - `imagenet_2012_validation_synset_labels.txt` (TensorFlow's): line i is the synset of the i-th image.
//!
//! Files of numbers say it only together with a second one:
//! - `ILSVRC2012_validation_ground_truth.txt` (the devkit): line i is the ILSVRC id of the i-th image. These ids count
//!   from 1 in the devkit's own order, which is not that of the sorted synsets. `meta.mat` or `map_clsloc.txt` of the
//!   devkit say it, or a list of synsets in that order;
//! - `val.txt` (Caffe): name and number, from 0 in the order of the sorted synsets, which `synsets.txt` lists.
//!
//! Numbers whose order nothing says are refused. Of several files that say all labels, all have to say the same.

mod meta;

use super::names::{ending, part_in};
use super::parts::{Group, images, some};
use super::tree::{Item, Tree};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

/// Folders above the data that are looked into for the files that are known by their names: Kaggle's lists lie three
/// above `ILSVRC/Data/CLS-LOC`.
const ABOVE: usize = 3;
/// Bytes of a file that are read: the largest of these, LOC_val_solution.csv, has 3 MiB.
const LARGEST: u64 = 64 << 20;
/// What to do where no labels are found.
const ADVICE: &str = "put LOC_val_solution.csv, or ILSVRC2012_validation_ground_truth.txt and meta.mat of the devkit, \
                      or a val.csv of lines `name,synset` beside it";

/// Labels of a folder's images.
pub(super) struct Labels {
    /// The images with their classes, which are synsets.
    pub group: Group,
    /// Files that they are from.
    pub files: Vec<PathBuf>,
    /// Files that say none of them, of which that is among the notes.
    pub refused: Vec<PathBuf>,
    /// What is to be said of them.
    pub notes: Vec<String>,
}

/// Is it a synset's name, `n` and eight digits?
fn is_synset(word: &str) -> bool {
    let digits = word.strip_prefix('n');
    digits.is_some_and(|d| d.len() == 8 && d.bytes().all(|b| b.is_ascii_digit()))
}

/// The labels of the folder `tests`, whose images are `group`; none where they have classes, where the training
/// classes `synsets` are no synsets, and where `tests` does not bear a name of validation images.
///
/// # Errors
/// No file says the labels, those that are there do not suffice, or two of them differ: in one line, with what to do.
pub(super) fn labels(
    group: &Group,
    synsets: &[String],
    tests: &Tree,
    data: [&Tree; 2],
) -> Option<Result<Labels, String>> {
    let of_imagenet = !synsets.is_empty() && synsets.iter().all(|c| is_synset(c));
    let flat = group.classes.is_empty() && !group.entries.is_empty();
    if !of_imagenet || !flat || !is_validation(&tests.name()) {
        return None;
    }
    Some(found(group, &tests.name(), &known(tests, data)))
}

/// Does a folder or file bear a name of validation images?
fn is_validation(name: &str) -> bool {
    let part = part_in(name).map(|(part, _)| part);
    ["val", "valid", "validation"]
        .iter()
        .any(|v| part.is_some() && part == part_in(v).map(|(p, _)| p))
}

/// What a file says, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// Name and synset, or name and Caffe's number.
    Names,
    /// A synset for each image, by their order.
    InOrder,
    /// An ILSVRC id for each image, by their order.
    Ids,
    /// The devkit's table of synsets.
    Meta,
    /// Synsets with their ids, or in an order.
    Synsets,
}

/// What the file of this name says; `listed`: it may be a list named after the folder of images.
fn kind(path: &Path, listed: bool) -> Option<Kind> {
    let name = path.file_name()?.to_string_lossy().to_lowercase();
    let stem = path.file_stem()?.to_string_lossy();
    if name.starts_with("ilsvrc") && name.ends_with("validation_ground_truth.txt") {
        return Some(Kind::Ids);
    }
    match &*name {
        "loc_val_solution.csv" => Some(Kind::Names),
        "imagenet_2012_validation_synset_labels.txt" => Some(Kind::InOrder),
        "meta.mat" => Some(Kind::Meta),
        "map_clsloc.txt" | "loc_synset_mapping.txt" | "synset_words.txt" => Some(Kind::Synsets),
        _ if name.ends_with("synsets.txt") => Some(Kind::Synsets),
        _ if listed && matches!(&*ending(path), "csv" | "tsv" | "txt") => {
            is_validation(&stem).then_some(Kind::Names)
        }
        _ => None,
    }
}

/// The files that are known by their names: in the folder of the images and in all others of the data, and above.
fn known(tests: &Tree, data: [&Tree; 2]) -> Vec<(Kind, PathBuf)> {
    let mut out = BTreeSet::new();
    let mut below = vec![tests, data[0], data[1]];
    while let Some(tree) = below.pop() {
        for item in &tree.items {
            match item {
                Item::Folder(f) => below.push(f),
                Item::Other(p) => out.extend(kind(p, true).map(|k| (k, p.clone()))),
                Item::Image(_) => (),
            }
        }
    }
    let place = std::fs::canonicalize(&data[0].path);
    let above = place.iter().flat_map(|p| p.ancestors().skip(1).take(ABOVE));
    for folder in above {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let files = entries.map(|e| e.path()).filter(|p| p.is_file());
        out.extend(files.filter_map(|p| Some((kind(&p, false)?, p))));
    }
    out.into_iter().collect()
}

/// A file's name, for messages.
fn shown(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}

/// Bytes of a file of labels.
fn bytes(path: &Path) -> Result<Vec<u8>, String> {
    let size = std::fs::metadata(path).map_err(|e| e.to_string())?.len();
    if size > LARGEST {
        return Err(format!("it has {} MiB, too many for a list", size >> 20));
    }
    std::fs::read(path).map_err(|e| e.to_string())
}

fn text(path: &Path) -> Result<String, String> {
    let text = String::from_utf8(bytes(path)?).map_err(|_| "it is no text in UTF-8")?;
    Ok(text.trim_start_matches('\u{feff}').to_string())
}

/// A synset for each image; none for images of which nothing is said.
type Said = Vec<Option<String>>;

fn found(group: &Group, name: &str, known: &[(Kind, PathBuf)]) -> Result<Labels, String> {
    let (mut why, mut refused) = (Vec::new(), Vec::new());
    let mut all: Vec<(Vec<PathBuf>, Said)> = Vec::new();
    for (kind, path) in known {
        let read = match kind {
            Kind::Names => by_name(group, path, known),
            Kind::InOrder => in_order(group, path),
            Kind::Ids => by_id(group, path, known),
            Kind::Meta | Kind::Synsets => continue,
        };
        match read {
            Ok((more, said)) => {
                let files = std::iter::once(path.clone()).chain(more);
                all.push((files.collect(), said));
            }
            Err(e) => {
                why.push(format!("{}: {e}", shown(path)));
                refused.push(path.clone());
            }
        }
    }
    let mut all = all.into_iter();
    let Some((mut files, mut said)) = all.next() else {
        let images = images(group.entries.len());
        return Err(match why.is_empty() {
            true => format!("no labels of {name} ({images}) were found: {ADVICE}"),
            false => format!(
                "no labels of {name} ({images}) are taken: {}",
                why.join("; ")
            ),
        });
    };
    for (others, other) in all {
        let differs =
            |i: &usize| said[*i].is_some() && other[*i].is_some() && said[*i] != other[*i];
        let odd: Vec<usize> = (0..said.len()).filter(differs).collect();
        if let Some(first) = odd.first() {
            return Err(format!(
                "no labels of {name} are taken: {} and {} say different synsets of {} (first: {}); remove the wrong \
                 one",
                shown(&files[0]),
                shown(&others[0]),
                images(odd.len()),
                shown(&group.entries[*first].0)
            ));
        }
        files.extend(others);
        for (one, other) in said.iter_mut().zip(other) {
            *one = one.take().or(other);
        }
    }
    let from: Vec<String> = files.iter().map(|f| f.display().to_string()).collect();
    let mut notes = vec![format!(
        "the labels of {name} are those of {}",
        from.join(", ")
    )];
    notes.extend(why.iter().map(|w| format!("not used: {w}")));
    let without: Vec<&Path> = (group.entries.iter().zip(&said))
        .filter_map(|(e, s)| s.is_none().then_some(&*e.0))
        .collect();
    if let Some(first) = without.first() {
        notes.push(format!(
            "left out: {} of {name} of which no list says a synset (first: {})",
            images(without.len()),
            shown(first)
        ));
    }
    let distinct: BTreeSet<&String> = said.iter().flatten().collect();
    let classes: Vec<String> = distinct.into_iter().cloned().collect();
    let number = |s: &Option<String>| {
        let at = classes.binary_search(s.as_ref()?).ok()?;
        u32::try_from(at).ok()
    };
    let labelled = group.entries.iter().zip(&said);
    Ok(Labels {
        group: Group {
            name: group.name.clone(),
            entries: labelled
                .filter_map(|((path, _), s)| Some((path.clone(), Some(number(s)?))))
                .collect(),
            left: without.into_iter().map(Path::to_path_buf).collect(),
            classes,
            ..Group::default()
        },
        files,
        refused,
        notes,
    })
}

/// A list of names with synsets, or with Caffe's numbers.
fn by_name(
    group: &Group,
    path: &Path,
    known: &[(Kind, PathBuf)],
) -> Result<(Vec<PathBuf>, Said), String> {
    let stem = |name: &str| {
        let name = Path::new(name).file_stem();
        name.map(|s| s.to_string_lossy().into_owned())
    };
    let at: HashMap<String, usize> = (group.entries.iter().enumerate())
        .filter_map(|(i, (p, _))| Some((p.file_stem()?.to_string_lossy().into_owned(), i)))
        .collect();
    let mut values: Vec<Option<String>> = vec![None; group.entries.len()];
    let text = text(path)?;
    let (mut named, mut unknown) = (0, 0);
    for (line, words) in (1..).zip(text.lines().map(words)) {
        let names = words.iter().filter_map(|w| at.get(&stem(w)?));
        let of: BTreeSet<&str> = words.iter().filter(|w| is_synset(w)).copied().collect();
        let Some(i) = names.copied().next() else {
            // A line that names the columns says no synset.
            unknown += usize::from(!of.is_empty());
            continue;
        };
        let value = match of.len() {
            1 => of.first().copied(),
            0 => words.iter().copied().find(|w| w.parse::<u32>().is_ok()),
            _ => None,
        };
        let value = value.ok_or_else(|| {
            format!(
                "line {line} says {} synsets of one image, and it has one class",
                of.len()
            )
        })?;
        if values[i].as_deref().is_some_and(|before| before != value) {
            return Err(format!(
                "line {line} names an image again, with another class"
            ));
        }
        values[i] = Some(value.into());
        named += 1;
    }
    if named == 0 {
        return Err("it names none of the images".into());
    }
    let numbers = values.iter().flatten().filter(|v| !is_synset(v)).count();
    if numbers == 0 {
        return Ok((Vec::new(), values));
    }
    if numbers < values.iter().flatten().count() || unknown > 0 {
        return Err("some lines have a synset and some a number".into());
    }
    let distinct: BTreeSet<&String> = values.iter().flatten().collect();
    if named > 1 && distinct.len() == named {
        return Err("its numbers differ for all images, so they are no classes".into());
    }
    let (file, sorted) = caffes(known)?;
    let synset = |v: &String| {
        let n = v.parse::<usize>().ok();
        n.and_then(|n| sorted.get(n)).cloned().ok_or_else(|| {
            let count = sorted.len();
            format!(
                "class {v}, where {} lists {count}, numbered from 0",
                shown(&file)
            )
        })
    };
    let synsets = values.iter().map(|v| v.as_ref().map(synset).transpose());
    let said = synsets.collect::<Result<Said, String>>()?;
    if !values.iter().flatten().any(|v| v.parse() == Ok(0)) {
        return Err(format!(
            "no image has class 0, so the numbers do not count {} from 0; write synsets in place of numbers",
            shown(&file)
        ));
    }
    Ok((vec![file], said))
}

/// The words of a line: cells of a CSV, without quotes.
fn words(line: &str) -> Vec<&str> {
    line.split([',', ';', '\t', ' '])
        .map(|w| w.trim().trim_matches('"'))
        .filter(|w| !w.is_empty())
        .collect()
}

/// Synsets in the order of Caffe's numbers, which is that of their names, and the file that lists them.
fn caffes(known: &[(Kind, PathBuf)]) -> Result<(PathBuf, Vec<String>), String> {
    let lists = known.iter().filter(|(k, _)| *k == Kind::Synsets);
    for (_, path) in lists {
        let Ok(all) = listed(path) else {
            continue;
        };
        let all: Vec<String> = all.into_iter().map(|(_, s)| s).collect();
        if all.is_sorted() {
            return Ok((path.clone(), all));
        }
    }
    Err("it has numbers, and no list beside it says of which synsets; put Caffe's synsets.txt there, or write synsets \
         in place of numbers"
        .into())
}

/// Synsets for the images in the order of their names.
fn in_order(group: &Group, path: &Path) -> Result<(Vec<PathBuf>, Said), String> {
    let text = text(path)?;
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .collect();
    if let Some(line) = lines.iter().position(|l| !is_synset(l)) {
        return Err(format!("line {} is no synset", line + 1));
    }
    let at = places(group, lines.len())?;
    let said = at.into_iter().map(|i| Some(lines[i].into()));
    Ok((Vec::new(), said.collect()))
}

/// Which line is each image's: that of the number in its name (`ILSVRC2012_val_00000001`), so that images may be
/// missing; else its place in the order of names, which needs a line for each.
fn places(group: &Group, lines: usize) -> Result<Vec<usize>, String> {
    let number = |path: &PathBuf| {
        let stem = path.file_stem()?.to_str()?.to_lowercase();
        let (name, digits) = stem.rsplit_once('_')?;
        let n: usize = digits.parse().ok()?;
        (name.starts_with("ilsvrc") && name.ends_with("_val") && (1..=lines).contains(&n))
            .then(|| n - 1)
    };
    let numbers: Option<Vec<usize>> = group.entries.iter().map(|(p, _)| number(p)).collect();
    match numbers {
        Some(all) => Ok(all),
        None if group.entries.len() == lines => Ok((0..lines).collect()),
        None => Err(format!(
            "it has {lines} lines for {}, which are not named ILSVRC2012_val_NUMBER: line i is the i-th image, so none \
             may be missing",
            images(group.entries.len())
        )),
    }
}

/// ILSVRC ids for the images in the order of their names.
fn by_id(
    group: &Group,
    path: &Path,
    known: &[(Kind, PathBuf)],
) -> Result<(Vec<PathBuf>, Said), String> {
    let text = text(path)?;
    let lines = text.lines().map(str::trim).filter(|l| !l.is_empty());
    let mut ids = Vec::new();
    for (line, id) in (1..).zip(lines) {
        let id: u32 = id
            .parse()
            .map_err(|_| format!("line {line} is no ILSVRC id"))?;
        ids.push(id);
    }
    let at = places(group, ids.len())?;
    let (file, of) = devkits(known)?;
    let synset = |i: usize| {
        let synset = of.get(&ids[i]).cloned();
        synset.ok_or_else(|| format!("line {}: {} has no id {}", i + 1, shown(&file), ids[i]))
    };
    let said: Result<Said, String> = at.into_iter().map(|i| synset(i).map(Some)).collect();
    Ok((vec![file], said?))
}

/// The synset of each ILSVRC id, and the file that says it.
fn devkits(known: &[(Kind, PathBuf)]) -> Result<(PathBuf, BTreeMap<u32, String>), String> {
    let mut why = Vec::new();
    for (kind, path) in known {
        let read = match kind {
            Kind::Meta => bytes(path).and_then(|b| meta::synsets(&b)),
            Kind::Synsets => numbered(path),
            _ => continue,
        };
        match read.and_then(|all| one_each(&all)) {
            Ok(of) => return Ok((path.clone(), of)),
            Err(e) => why.push(format!("{} {e}", shown(path))),
        }
    }
    why.insert(
        0,
        "ILSVRC ids are not in the order of the sorted synsets".into(),
    );
    Err(format!(
        "{}; put meta.mat or map_clsloc.txt of the devkit beside it",
        why.join("; ")
    ))
}

/// The list of synsets at `path`, with the ids that it says or that its order says.
fn numbered(path: &Path) -> Result<Vec<(u32, String)>, String> {
    let all = listed(path)?;
    if all.iter().all(|(id, _)| id.is_some()) {
        let numbered = all.into_iter().filter_map(|(id, s)| Some((id?, s)));
        return Ok(numbered.collect());
    }
    if all.is_sorted_by_key(|(_, s)| s) {
        return Err("lists the synsets in the order of their names".into());
    }
    Ok((1..).zip(all.into_iter().map(|(_, s)| s)).collect())
}

/// A synset for each id.
fn one_each(all: &[(u32, String)]) -> Result<BTreeMap<u32, String>, String> {
    let of: BTreeMap<u32, String> = all.iter().cloned().collect();
    let synsets: BTreeSet<&String> = of.values().collect();
    if of.len() < all.len() || synsets.len() < all.len() {
        return Err("has an id or a synset twice".into());
    }
    Ok(of)
}

/// Lines that begin with a synset, with the number behind it where there is one (`n02119789 1 kit_fox`).
fn listed(path: &Path) -> Result<Vec<(Option<u32>, String)>, String> {
    let text = text(path)?;
    let mut out = Vec::new();
    for line in text.lines() {
        let words = words(line);
        match words[..] {
            [] => (),
            [first, ..] if is_synset(first) => {
                let id = words.get(1).and_then(|w| w.parse().ok());
                out.push((id, first.to_string()));
            }
            _ => return Err(format!("has a line without a synset: {}", some(&[line]))),
        }
    }
    match out.is_empty() {
        true => Err("is empty".into()),
        false => Ok(out),
    }
}
