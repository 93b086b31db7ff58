//! What lies in a folder and in the folders below it.

use super::DataError;
use super::names::{ending, is_litter, is_read, is_unread_image};
use std::collections::{BTreeMap, HashSet};
use std::iter::Peekable;
use std::path::{Path, PathBuf};
use std::vec::IntoIter;
use walkdir::{DirEntry, WalkDir};

/// Folders within folders that are looked into.
const DEPTH: usize = 16;
/// What cannot be read and is named one by one.
const NAMED: usize = 10;
/// Kinds of files not used that are named.
const KINDS: usize = 8;

/// A folder, without litter ([`is_litter`]).
#[derive(Debug)]
pub(super) struct Tree {
    /// Where it is.
    pub path: PathBuf,
    /// What is in it, in the order of the names.
    pub items: Vec<Item>,
    /// Image files in it and below.
    pub images: usize,
}

/// What is in a folder.
#[derive(Debug)]
pub(super) enum Item {
    /// A file with an image's ending.
    Image(PathBuf),
    /// Anything else that is no folder.
    Other(PathBuf),
    /// A folder.
    Folder(Tree),
}

impl Tree {
    /// Reads a folder. Links are followed; what cannot be read, and a link that leads back, is a warning.
    ///
    /// # Errors
    /// The folder itself cannot be read.
    pub fn read(folder: &Path, warnings: &mut Vec<String>) -> Result<Self, DataError> {
        let walk = WalkDir::new(folder)
            .follow_links(true)
            .max_depth(DEPTH)
            .sort_by_file_name();
        let kept = |e: &DirEntry| e.depth() == 0 || !is_litter(e.file_name());
        let (mut entries, mut failed, mut deep) = (Vec::new(), 0, 0);
        for entry in walk.into_iter().filter_entry(kept) {
            match entry {
                Ok(e) if e.depth() == 0 => (),
                Ok(e) => {
                    deep += usize::from(e.depth() == DEPTH && e.file_type().is_dir());
                    entries.push(e);
                }
                Err(e) if e.depth() == 0 => {
                    return Err(DataError::Io {
                        path: folder.into(),
                        source: e.into(),
                    });
                }
                Err(e) => {
                    failed += 1;
                    if failed <= NAMED {
                        warnings.push(format!("left out: {e}"));
                    }
                }
            }
        }
        if failed > NAMED {
            warnings.push(format!(
                "left out: {} more that cannot be read",
                failed - NAMED
            ));
        }
        if deep > 0 {
            warnings.push(format!(
                "left out: {deep} folders that are {DEPTH} levels down"
            ));
        }
        Ok(Self::of(
            folder.into(),
            1,
            &mut entries.into_iter().peekable(),
        ))
    }

    /// The folder `path`: what comes next of `entries` and stands `depth` folders down or deeper.
    fn of(path: PathBuf, depth: usize, entries: &mut Peekable<IntoIter<DirEntry>>) -> Self {
        let (mut items, mut images) = (Vec::new(), 0);
        while let Some(e) = entries.next_if(|e| e.depth() == depth) {
            let kind = e.file_type();
            let path = e.into_path();
            items.push(if kind.is_dir() {
                let inner = Self::of(path, depth + 1, entries);
                images += inner.images;
                Item::Folder(inner)
            } else if kind.is_file() && is_read(&ending(&path)) {
                images += 1;
                Item::Image(path)
            } else {
                Item::Other(path)
            });
        }
        Self {
            path,
            items,
            images,
        }
    }

    /// A folder `path` of image files with these names, whose parts `/` separates, and with what stands for each.
    pub fn of_names(path: PathBuf, mut names: Vec<(String, PathBuf)>) -> Self {
        names.sort_by(|(a, _), (b, _)| a.split('/').cmp(b.split('/')));
        Self::inner(path, 0, &names)
    }

    /// What these have below the folder that the first `skip` bytes of all names are.
    fn inner(path: PathBuf, skip: usize, names: &[(String, PathBuf)]) -> Self {
        let head = |(name, _): &(String, PathBuf)| name[skip..].split_once('/').map(|h| h.0.len());
        let same = |a: &(String, PathBuf), b: &(String, PathBuf)| match (head(a), head(b)) {
            (Some(a_len), Some(b_len)) => a.0[..skip + a_len] == b.0[..skip + b_len],
            _ => false,
        };
        let mut items = Vec::new();
        for group in names.chunk_by(same) {
            items.push(match head(&group[0]) {
                None => Item::Image(group[0].1.clone()),
                Some(len) => {
                    let end = skip + len;
                    let folder = path.join(&group[0].0[skip..end]);
                    Item::Folder(Self::inner(folder, end + 1, group))
                }
            });
        }
        Self {
            path,
            items,
            images: names.len(),
        }
    }

    /// Its name.
    pub fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or(self.path.as_os_str());
        name.to_string_lossy().into_owned()
    }

    /// Its folders, in the order of their names.
    pub fn folders(&self) -> impl Iterator<Item = &Self> {
        self.items.iter().filter_map(|i| match i {
            Item::Folder(f) => Some(f),
            _ => None,
        })
    }

    /// Its image files, in the order of their names; those below it are no part of them.
    pub fn own_images(&self) -> impl Iterator<Item = &PathBuf> {
        self.items.iter().filter_map(|i| match i {
            Item::Image(p) => Some(p),
            _ => None,
        })
    }

    /// Its other files.
    pub fn other_files(&self) -> impl Iterator<Item = &PathBuf> {
        self.items.iter().filter_map(|i| match i {
            Item::Other(p) => Some(p),
            _ => None,
        })
    }

    /// Image files in it and below, in the order of the names.
    pub fn all_images(&self) -> Vec<PathBuf> {
        let mut out = Vec::with_capacity(self.images);
        self.append_images(&mut out);
        out
    }

    fn append_images(&self, out: &mut Vec<PathBuf>) {
        for item in &self.items {
            match item {
                Item::Image(p) => out.push(p.clone()),
                Item::Folder(f) => f.append_images(out),
                Item::Other(_) => (),
            }
        }
    }

    /// Files in it and below that are not `used`, counted by ending and place, in one line; none where all are used.
    /// `said` are files and folders of which that has been said.
    pub fn unused(&self, used: &HashSet<&Path>, said: &HashSet<&Path>) -> Option<String> {
        let mut found = BTreeMap::new();
        self.count(used, said, None, &mut found);
        let mut kinds: Vec<(Kind, Places<'_>)> = found.into_iter().collect();
        kinds.sort_by_key(|(_, places)| std::cmp::Reverse(places.values().sum::<usize>()));
        let first = kinds.iter().take(KINDS);
        let mut parts: Vec<String> = first.map(|(k, p)| self.counted(k, p)).collect();
        if let Some(more) = kinds.get(KINDS..).filter(|m| !m.is_empty()) {
            let files: usize = more.iter().flat_map(|(_, p)| p.values()).sum();
            parts.push(format!("{files} of {} other endings", more.len()));
        }
        let unread: Vec<&str> = kinds
            .iter()
            .map(|(k, _)| &*k.ending)
            .filter(|e| is_unread_image(e))
            .collect();
        if !unread.is_empty() {
            let what = unread.join(" and ");
            parts.push(format!(
                "there is no decoder for {what} (convert them to jpeg or png)"
            ));
        }
        (!parts.is_empty()).then(|| parts.join("; "))
    }

    /// What is in it and below, in words behind `there`.
    pub fn there(&self) -> String {
        self.unused(&HashSet::new(), &HashSet::new())
            .map_or("is nothing".into(), |t| format!("are {t}"))
    }

    fn counted(&self, kind: &Kind, places: &Places<'_>) -> String {
        let count: usize = places.values().sum();
        let named = |p: &Path| match p.strip_prefix(&self.path) {
            Ok(rest) if rest.as_os_str().is_empty() => "the folder itself".into(),
            Ok(rest) => rest.display().to_string(),
            Err(_) => p.display().to_string(),
        };
        let first: Vec<String> = places.keys().take(2).map(|p| named(p)).collect();
        let place = match places.len() {
            1 => first.join(""),
            2 => first.join(" and "),
            n => format!("{n} folders ({}, ..)", first.join(", ")),
        };
        let what = match &*kind.ending {
            "" => format!("{count} without an ending"),
            ending => format!("{count} .{ending}"),
        };
        match kind.beside {
            true => format!("{what} in {place}, beside folders of images"),
            false => format!("{what} in {place}"),
        }
    }

    /// Counts what is not used. `place`: the outermost folder with nothing that is used.
    fn count<'t>(
        &'t self,
        used: &HashSet<&Path>,
        said: &HashSet<&Path>,
        place: Option<&'t Path>,
        out: &mut BTreeMap<Kind, Places<'t>>,
    ) {
        if said.contains(&*self.path) {
            return;
        }
        let place = place.or_else(|| (!self.holds(used)).then_some(&*self.path));
        for item in &self.items {
            match item {
                Item::Folder(f) => f.count(used, said, place, out),
                Item::Image(p) | Item::Other(p) if !used.contains(&**p) && !said.contains(&**p) => {
                    let kind = Kind {
                        ending: ending(p),
                        beside: place.is_none() && matches!(item, Item::Image(_)),
                    };
                    let places = out.entry(kind).or_default();
                    *places.entry(place.unwrap_or(&self.path)).or_default() += 1;
                }
                Item::Image(_) | Item::Other(_) => (),
            }
        }
    }

    fn holds(&self, used: &HashSet<&Path>) -> bool {
        self.items.iter().any(|i| match i {
            Item::Folder(f) => f.holds(used),
            Item::Image(p) | Item::Other(p) => used.contains(&**p),
        })
    }
}

/// Files that are counted together.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    ending: String,
    /// Images that could be read, in a folder below which others are.
    beside: bool,
}

/// Files of a kind, counted by the folder that they are in.
type Places<'t> = BTreeMap<&'t Path, usize>;
