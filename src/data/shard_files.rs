//! The files of a set that lies in few large ones ([`super::shards`]): where they are, and which part each is of.

use super::list::is_packed;
use super::names::{Part, ending, is_litter, part, part_in};
use super::shards::fail;
use super::{DataError, Result};
use std::path::{Path, PathBuf};

/// Folders within folders that are searched.
const LEVELS: usize = 3;
/// Most folders of one level that are searched: so many are those of classes.
const FOLDERS: usize = 64;
/// Files that a name with braces stands for, at most.
const EXPANDED: usize = 1_000_000;

/// The files of a set.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// Names of images are relative to it.
    pub root: PathBuf,
    /// In the order of their names.
    pub files: Vec<PathBuf>,
    /// They were named one by one: what they are is not told by their names alone.
    pub named: bool,
    /// What is to be said.
    pub notes: Vec<String>,
}

/// Is it a name with braces, which stands for several files?
pub(super) fn is_pattern(path: &Path) -> bool {
    braces(&path.to_string_lossy()).is_some() && !path.exists()
}

fn is_shard(path: &Path) -> bool {
    matches!(&*ending(path), "tar" | "parquet")
}

/// The files of the set at `path`; none where it has no shards, or where images lie there as files of their own.
pub(super) fn files(path: &Path) -> Result<Option<Files>> {
    if is_pattern(path) || (is_shard(path) && path.is_file()) {
        let named = match path.is_file() {
            true => vec![path.to_path_buf()],
            false => expanded(path)?,
        };
        // Images of one file are named as members of it alone.
        let root = match path.is_file() {
            true => path.to_path_buf(),
            false => path.parent().unwrap_or(Path::new("")).to_path_buf(),
        };
        return Ok(Some(Files {
            root,
            files: named,
            named: true,
            notes: Vec::new(),
        }));
    }
    if !path.is_dir() {
        return Ok(None);
    }
    let (root, notes) = match snapshot(path)? {
        Some((root, note)) => (root, vec![note]),
        None => (path.to_path_buf(), Vec::new()),
    };
    let (files, packed) = search(&root);
    if files.is_empty() {
        return match packed.first() {
            // A folder of images may have the file beside them that they came in.
            Some(first) if !holds_images(&root)? => Err(fail(first, compressed())),
            _ => Ok(None),
        };
    }
    // What was unpacked beside its tar file is read as it lies there.
    if holds_images(&root)? {
        return Ok(None);
    }
    Ok(Some(Files {
        root,
        files,
        named: false,
        notes,
    }))
}

/// Why a compressed tar file is not read.
pub(super) fn compressed() -> &'static str {
    "a compressed tar file, of which no image can be read without all before it: decompress it (gunzip, unzstd, unxz) \
     to a .tar, or unpack it and name the folder"
}

fn holds_images(folder: &Path) -> Result<bool> {
    Ok(super::tree::Tree::read(folder, &mut Vec::new())?.images > 0)
}

/// The snapshot of a folder of the hub's cache, with what is to be said; none where it is no such folder.
///
/// # Errors
/// There is a cache without a whole snapshot.
fn snapshot(path: &Path) -> Result<Option<(PathBuf, String)>> {
    let all = path.join("snapshots");
    if !all.is_dir() || !(path.join("refs").is_dir() || path.join("blobs").is_dir()) {
        return Ok(None);
    }
    let revision = std::fs::read_to_string(path.join("refs/main")).unwrap_or_default();
    let main = all.join(revision.trim());
    if !revision.trim().is_empty() && main.is_dir() {
        let note = format!(
            "the hub's snapshot {} is read, that of refs/main",
            revision.trim()
        );
        return Ok(Some((main, note)));
    }
    let entries = std::fs::read_dir(&all).map_err(|source| DataError::Io {
        path: all.clone(),
        source,
    })?;
    let mut there: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    there.retain(|p| p.is_dir());
    match &there[..] {
        [one] => {
            let note = format!("the hub's only snapshot is read, {}", one.display());
            Ok(Some((one.clone(), note)))
        }
        several => Err(fail(
            path,
            format!(
                "a folder of the hub's cache with {} snapshots, and refs/main names none of them: name one, in {}",
                several.len(),
                all.display()
            ),
        )),
    }
}

/// Shards in a folder and some folders down, and packed files, each in the order of their names. What cannot be read
/// is named where images are looked for.
fn search(root: &Path) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let (mut files, mut packed, mut level) = (Vec::new(), Vec::new(), vec![root.to_path_buf()]);
    for _ in 0..=LEVELS {
        let mut next = Vec::new();
        for entry in level.iter().flat_map(std::fs::read_dir).flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name();
            if is_litter(&name) {
                continue;
            }
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            let (dir, file) = match kind.is_symlink() {
                true => (path.is_dir(), path.is_file()),
                false => (kind.is_dir(), kind.is_file()),
            };
            if dir {
                next.push(path);
            } else if file && is_shard(&path) {
                files.push(path);
            } else if file && name.to_string_lossy().contains(".tar.") && is_packed(&ending(&path))
            {
                packed.push(path);
            }
        }
        if next.len() > FOLDERS {
            break;
        }
        level = next;
    }
    files.sort();
    packed.sort();
    (files, packed)
}

/// What stands before, in and behind the first braces of a name.
fn braces(name: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = name.split_once('{')?;
    let (inside, behind) = rest.split_once('}')?;
    Some((before, inside, behind))
}

/// The words that braces stand for: `000..012` (as wide as the first), `a,b`.
fn words(inside: &str) -> std::result::Result<Vec<String>, String> {
    let Some((first, last)) = inside.split_once("..") else {
        return Ok(inside.split(',').map(ToString::to_string).collect());
    };
    let number = |text: &str| text.trim().parse::<u64>().ok();
    match (number(first), number(last)) {
        (Some(a), Some(b)) if a <= b && b - a < EXPANDED as u64 => {
            let width = first.trim().len();
            Ok((a..=b).map(|n| format!("{n:0width$}")).collect())
        }
        _ => Err(format!(
            "{{{inside}}} is no range of numbers, such as {{000000..000012}}"
        )),
    }
}

/// The files that a name with braces stands for.
///
/// # Errors
/// A range that is none; a file that is not there.
fn expanded(pattern: &Path) -> Result<Vec<PathBuf>> {
    let mut names = vec![pattern.to_string_lossy().into_owned()];
    while names.iter().any(|n| braces(n).is_some()) {
        let mut next = Vec::new();
        for name in names {
            let Some((before, inside, behind)) = braces(&name) else {
                next.push(name);
                continue;
            };
            for word in words(inside).map_err(|e| fail(pattern, e))? {
                next.push(format!("{before}{word}{behind}"));
            }
            if next.len() > EXPANDED {
                return Err(fail(
                    pattern,
                    format!("it stands for more than {EXPANDED} files"),
                ));
            }
        }
        names = next;
    }
    let files: Vec<PathBuf> = names.into_iter().map(PathBuf::from).collect();
    let absent: Vec<&PathBuf> = files.iter().filter(|f| !f.is_file()).collect();
    if let Some(first) = absent.first() {
        return Err(fail(
            pattern,
            format!(
                "of the {} files that it stands for, {} are not there, the first {}",
                files.len(),
                absent.len(),
                first.display()
            ),
        ));
    }
    if let Some(other) = files.iter().find(|f| !is_shard(f)) {
        let reason = format!("{} is neither a .tar nor a .parquet file", other.display());
        return Err(fail(pattern, reason));
    }
    Ok(files)
}

/// The part that a file is of: the one its own name stands for, or the innermost of its folders'.
pub(super) fn part_of(file: &Path, root: &Path) -> Option<Part> {
    let own = file.strip_prefix(root).unwrap_or(file);
    let stem = own.file_stem().unwrap_or_default().to_string_lossy();
    let folders = own.parent().into_iter().flat_map(Path::components).rev();
    let of = |name: &str| part_in(name).map(|(part, _)| part);
    let mut of_folders = folders.filter_map(|f| part(&f.as_os_str().to_string_lossy()));
    of(&stem).or_else(|| of_folders.next())
}

/// The part of each file; none of those that are not used, which is said. Where no name tells a part, all files are to
/// train on.
pub(super) fn parts_of(all: &Files, notes: &mut Vec<String>) -> Vec<Option<Part>> {
    let mut of: Vec<Option<Part>> = all.files.iter().map(|f| part_of(f, &all.root)).collect();
    if of.iter().all(Option::is_none) {
        of.fill(Some(Part::Train));
    }
    let idle: Vec<&PathBuf> = all
        .files
        .iter()
        .zip(&of)
        .filter(|(_, p)| p.is_none())
        .map(|(f, _)| f)
        .collect();
    if let Some(first) = idle.first() {
        notes.push(format!(
            "not used: {} files whose names tell no part, beside others that do (first: {})",
            idle.len(),
            first.display()
        ));
    }
    of
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_stand_for_ranges_and_lists() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["a-008.tar", "a-009.tar", "a-010.tar", "b-1.tar"] {
            std::fs::write(at(name), "").unwrap();
        }
        let names = |pattern: &str| {
            let all = expanded(&at(pattern)).map_err(|e| e.to_string());
            let name = |p: &PathBuf| p.file_name().unwrap().to_str().unwrap().to_string();
            all.map(|all| all.iter().map(name).collect::<Vec<_>>())
        };
        let three = ["a-008.tar", "a-009.tar", "a-010.tar"].map(String::from);
        assert_eq!(names("a-{008..010}.tar").unwrap(), three);
        assert_eq!(
            names("{a-008,b-1}.tar").unwrap(),
            ["a-008.tar", "b-1.tar"].map(String::from)
        );
        assert_eq!(names("{a,a}-0{08..09}.tar").unwrap().len(), 4);
        let e = names("a-{008..011}.tar").unwrap_err();
        assert!(
            e.contains("4 files that it stands for, 1 are not there") && e.contains("a-011.tar")
        );
        for bad in ["a-{3..1}.tar", "a-{x..y}.tar", "a-{0..99999999}.tar"] {
            assert!(
                names(bad).unwrap_err().contains("no range of numbers"),
                "{bad}"
            );
        }
    }

    #[test]
    fn names_of_files_and_folders_tell_the_part() {
        let root = Path::new("D");
        for (name, part) in [
            ("D/train-000000.tar", "train"),
            ("D/imagenet-train-0001.tar", "train"),
            ("D/imagenet1k-validation-00.tar", "validation"),
            ("D/data/test-00000-of-00002.parquet", "test"),
            ("D/val/0000.tar", "val"),
            ("D/default/train/0000.parquet", "train"),
            ("D/ILSVRC2012_img_val.tar", "val"),
        ] {
            let found = part_of(Path::new(name), root).map(Part::name);
            assert_eq!(found, Some(part), "{name}");
        }
        for name in ["D/0000.tar", "D/n01440764.tar", "D/data/cats.parquet"] {
            assert_eq!(part_of(Path::new(name), root), None, "{name}");
        }
        // The folder above the set says nothing of it.
        let own = part_of(Path::new("train/D/0.tar"), Path::new("train/D"));
        assert_eq!(own, None);
    }
}
