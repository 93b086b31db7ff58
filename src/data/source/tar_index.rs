//! What is in a tar file: one pass over its headers, which passes over the contents but for those of labels.
//!
//! A member's bytes lie in the file as they are, so that with their offset an image is read as one of a folder is. An
//! index of many members is kept beside the file, as `NAME.tar.index`, and believed as long as the file has the size
//! and the time of change that it had.

use super::pread::read_at;
use crate::data::names::{ending, is_litter, is_read};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// Bytes that are read at once where headers are looked for: of small members, several headers.
const BUFFER: usize = 8192;
/// Bytes of a label, and of a file of JSON that holds one.
const LABEL: u64 = 256;
const JSON: u64 = 1 << 16;
/// Members of an index that is kept: below it the pass takes some milliseconds.
const KEPT: usize = 1024;
/// First word of a kept index, with the version of its form.
const MAGIC: &str = "amcl-wgpu tar index 1";

/// A member that is an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::data) struct Member {
    /// Its path in the tar file, without `./`.
    pub name: String,
    /// Where its bytes begin.
    pub at: u64,
    /// How many there are.
    pub bytes: u64,
}

impl Member {
    /// Does it end within the first `len` bytes of its file?
    fn ends_by(&self, len: u64) -> bool {
        self.at
            .checked_add(self.bytes)
            .is_some_and(|end| end <= len)
    }
}

/// Where a label was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(in crate::data) enum Kind {
    /// A member `.cls`.
    Class,
    /// The field `label` of a member `.json`.
    Json,
    /// A member `.txt`: a class, or a caption.
    Text,
}

/// The members of a tar file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::data) struct Index {
    /// Its images, in their order.
    pub images: Vec<Member>,
    /// Labels by key (WebDataset's: a path up to the first dot of its last part).
    pub labels: BTreeMap<String, (Kind, String)>,
    /// Members that are neither, by ending.
    pub others: BTreeMap<String, usize>,
    /// What is wrong with it, in words that follow its name.
    pub wrong: Vec<String>,
}

/// The key of a member's path, and the rest behind the dot in small letters.
pub(in crate::data) fn key(name: &str) -> (&str, String) {
    let file = name.rfind('/').map_or(0, |i| i + 1);
    match name[file..].find('.') {
        Some(dot) => (
            &name[..file + dot],
            name[file + dot + 1..].to_ascii_lowercase(),
        ),
        None => (name, String::new()),
    }
}

/// A range of a file, read without moving the file's own position.
struct Section<'a> {
    file: &'a File,
    begin: u64,
    len: u64,
    at: u64,
    /// Bytes that were read, and where they are in the section.
    buffer: (u64, Vec<u8>),
}

impl Read for Section<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let (from, bytes) = &mut self.buffer;
        if self.at < *from || self.at >= *from + bytes.len() as u64 {
            let more = self.len.saturating_sub(self.at).min(BUFFER as u64);
            bytes.clear();
            bytes.resize(more as usize, 0);
            *from = self.at;
            if let Err(e) = read_at(self.file, bytes, self.begin + self.at) {
                bytes.clear();
                return Err(e);
            }
        }
        let there = &bytes[(self.at - *from) as usize..];
        let count = there.len().min(out.len());
        out[..count].copy_from_slice(&there[..count]);
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for Section<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let to = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.len.checked_add_signed(by),
        };
        self.at = to.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

/// A label in the bytes of a member with this ending; none where there is none.
fn label(ending: &str, bytes: &[u8]) -> Option<(Kind, String)> {
    let word = |text: &str| {
        let text = text.trim();
        let one = !text.is_empty() && text.len() as u64 <= LABEL && !text.contains(['\n', '\r']);
        one.then(|| text.to_string())
    };
    let text = || word(std::str::from_utf8(bytes).ok()?);
    match ending {
        "cls" => Some((Kind::Class, text()?)),
        "txt" => Some((Kind::Text, text()?)),
        _ => {
            let value: serde_json::Value = serde_json::from_slice(bytes).ok()?;
            let label = match value.get("label")? {
                serde_json::Value::String(text) => word(text)?,
                serde_json::Value::Number(n) => n.to_string(),
                _ => return None,
            };
            Some((Kind::Json, label))
        }
    }
}

/// A member's path with `/` between its parts and without `./`; none where a part of it is litter or leads upwards.
fn plain(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes).replace('\\', "/");
    let parts: Vec<&str> = text
        .split('/')
        .filter(|p| !p.is_empty() && *p != ".")
        .collect();
    let odd = |p: &&str| is_litter(OsStr::new(p)) || *p == "..";
    (!parts.is_empty() && !parts.iter().any(odd)).then(|| parts.join("/"))
}

/// A pass over the headers of a tar file.
#[derive(Default)]
struct Pass {
    index: Index,
    /// Place of each image among those of the index.
    places: HashMap<String, usize>,
    links: usize,
    sparse: usize,
}

impl Pass {
    /// Looks at the tar that lies in these bytes of a file: the file, or a member. Paths in it begin with `within`.
    ///
    /// # Errors
    /// It does not begin as a tar does.
    fn look(&mut self, file: &File, (begin, len): (u64, u64), within: &str) -> io::Result<()> {
        let mut archive = tar::Archive::new(Section {
            file,
            begin,
            len,
            at: 0,
            buffer: (0, Vec::new()),
        });
        let mut end = 0;
        for entry in archive.entries_with_seek()? {
            let mut entry = match entry {
                Ok(entry) => entry,
                Err(e) if end == 0 => return Err(e),
                Err(e) => {
                    self.index.wrong.push(format!(
                        "there is no member where one should be, at byte {} ({e}): what is behind is not used",
                        begin + end
                    ));
                    return Ok(());
                }
            };
            let (at, bytes) = (entry.raw_file_position(), entry.size());
            let Some(path) = plain(&entry.path_bytes()) else {
                end = at.saturating_add(bytes);
                continue;
            };
            let name = format!("{within}{path}");
            let kind = entry.header().entry_type();
            if kind.is_hard_link() {
                let to = entry.link_name_bytes().and_then(|to| plain(&to));
                self.link(name, to.map(|to| format!("{within}{to}")));
                continue;
            }
            if !(kind.is_file() || kind.is_contiguous()) {
                self.links += usize::from(kind.is_symlink());
                self.sparse += usize::from(kind.is_gnu_sparse());
                end = end.max(at);
                continue;
            }
            end = at.saturating_add(bytes);
            if end > len {
                self.index.wrong.push(format!(
                    "it is cut short: of `{name}`, its last member, {} of {bytes} bytes are there; it is left out",
                    len.saturating_sub(at)
                ));
                return Ok(());
            }
            let of = ending(Path::new(&path));
            let tag = match key(&path).1.as_str() {
                "cls" | "cls.txt" => Some(("cls", LABEL)),
                "txt" => Some(("txt", LABEL)),
                "json" => Some(("json", JSON)),
                _ => None,
            };
            let mut found = None;
            if let Some((what, most)) = tag.filter(|(_, most)| bytes <= *most) {
                let mut text = Vec::new();
                (&mut entry).take(most).read_to_end(&mut text)?;
                found = label(what, &text);
            }
            if is_read(&of) {
                self.image(Member {
                    name,
                    at: begin + at,
                    bytes,
                });
            } else if let Some(found) = found {
                let labels = &mut self.index.labels;
                let of = labels.entry(key(&name).0.into());
                of.and_modify(|l| *l = found.clone().min(l.clone()))
                    .or_insert(found);
            } else if of == "tar" && within.is_empty() {
                let stem = path.strip_suffix(".tar").unwrap_or(&path);
                if let Err(e) = self.look(file, (begin + at, bytes), &format!("{stem}/")) {
                    let line = format!("`{path}` in it is no tar file ({e}): it is left out");
                    self.index.wrong.push(line);
                }
            } else {
                *self.index.others.entry(of).or_default() += 1;
            }
        }
        Ok(())
    }

    /// An image. As unpacking does, the last of several members of one name is taken.
    fn image(&mut self, member: Member) {
        match self.places.get(&member.name) {
            Some(place) => self.index.images[*place] = member,
            None => {
                self.places
                    .insert(member.name.clone(), self.index.images.len());
                self.index.images.push(member);
            }
        }
    }

    /// A second name of an image that came before.
    fn link(&mut self, name: String, to: Option<String>) {
        match to.and_then(|to| self.places.get(&to)) {
            Some(place) => {
                let to = self.index.images[*place].clone();
                self.image(Member { name, ..to });
            }
            None => self.links += 1,
        }
    }
}

impl Index {
    /// Looks at a tar file, or reads the index that was kept beside it. False: the index is worth keeping, and the
    /// folder does not take it.
    ///
    /// # Errors
    /// The file cannot be read, or is no tar file.
    pub(in crate::data) fn of(path: &Path) -> io::Result<(Self, bool)> {
        let file = File::open(path)?;
        let about = file.metadata()?;
        let stamp = stamp(&about);
        let beside = beside(path);
        if let Some(kept) = std::fs::read(&beside)
            .ok()
            .and_then(|b| Self::parse(&b, &stamp))
            .filter(|i| i.images.iter().all(|m| m.ends_by(about.len())))
        {
            return Ok((kept, true));
        }
        let index = Self::read(&file)?;
        let many = index.images.len() + index.labels.len() >= KEPT;
        let kept = !many || index.keep(&beside, &stamp).is_ok();
        Ok((index, kept))
    }

    /// Looks at all of a tar file.
    ///
    /// # Errors
    /// As [`Index::of`].
    fn read(file: &File) -> io::Result<Self> {
        let mut pass = Pass::default();
        pass.look(file, (0, file.metadata()?.len()), "")?;
        let Pass {
            mut index,
            links,
            sparse,
            ..
        } = pass;
        if index.images.is_empty() {
            index.wrong.push("it holds no image".into());
        }
        for (count, what) in [
            (links, "links, which lead to no member"),
            (sparse, "sparse members"),
        ] {
            if count > 0 {
                index.wrong.push(format!("{count} {what} are left out"));
            }
        }
        Ok(index)
    }

    /// A kept index, if it is whole and of a file with this stamp.
    pub(in crate::data) fn parse(bytes: &[u8], stamp: &str) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (head, body) = text.split_once('\n')?;
        let sum = crc32c::crc32c(body.as_bytes());
        let whole = head == format!("{MAGIC} {stamp} {sum:08x}");
        whole.then(|| serde_json::from_str(body).ok()).flatten()
    }

    /// Keeps the index in a file. One of another program is not replaced.
    fn keep(&self, file: &Path, stamp: &str) -> io::Result<()> {
        if file.exists() && !std::fs::read(file)?.starts_with(MAGIC.as_bytes()) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let body = serde_json::to_string(self)?;
        let sum = crc32c::crc32c(body.as_bytes());
        let folder = file.parent().filter(|f| !f.as_os_str().is_empty());
        let mut new = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))?;
        write!(new, "{MAGIC} {stamp} {sum:08x}\n{body}")?;
        new.as_file().sync_all()?;
        new.persist(file).map_err(|e| e.error)?;
        Ok(())
    }
}

/// What tells that a file is the one that was looked at.
fn stamp(about: &std::fs::Metadata) -> String {
    let changed = about.modified().ok();
    let since = changed.and_then(|t| t.duration_since(UNIX_EPOCH).ok());
    format!("{} {}", about.len(), since.map_or(0, |s| s.as_nanos()))
}

/// Where the index of a tar file is kept.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".index");
    name.into()
}
