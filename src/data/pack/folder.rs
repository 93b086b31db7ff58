//! The folder of a packed set: who writes into it, and what may be there.

use super::fail;
use super::format::{ALL, About, INDEX, Index, Shard, shard_name};
use crate::data::{DataError, Result};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// What a file that is not whole is called behind its name.
const PART: &str = ".part";

/// The name of a file that is not whole.
pub(super) fn part_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(PART);
    name.into()
}

/// Free bytes where a folder is; none where the system does not tell.
pub(super) fn free(folder: &Path) -> Option<u64> {
    fs4::available_space(folder).ok()
}

/// A folder that holds another packed set.
pub(super) fn another(path: &Path, why: &str) -> DataError {
    fail(
        path,
        format!("another packed set is there: {why}; name another folder (-o), or remove that set"),
    )
}

/// The number of a shard of this name.
fn number(name: &str) -> Option<usize> {
    let digits = name.strip_prefix("shard-")?.strip_suffix(".pack")?;
    let number = digits.parse().ok()?;
    (shard_name(number) == name).then_some(number)
}

/// A folder that this process packs into. The file that becomes the index is locked as long.
pub(super) struct Claim {
    folder: PathBuf,
    index: File,
    /// Shards that were there: number and bytes.
    shards: Vec<(usize, u64)>,
}

impl Claim {
    /// Takes the folder, which is made if need be. Nothing that is there is removed but what an earlier packing left
    /// unfinished.
    ///
    /// # Errors
    /// A folder that another process packs into, or that holds something else.
    pub(super) fn new(folder: &Path, about: &About) -> Result<Self> {
        let io = |source| DataError::Io {
            path: folder.into(),
            source,
        };
        std::fs::create_dir_all(folder).map_err(io)?;
        let (mut shards, mut parts) = (Vec::new(), Vec::new());
        for entry in std::fs::read_dir(folder).map_err(io)? {
            let entry = entry.map_err(io)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            match (number(&name), name.strip_suffix(PART)) {
                (Some(n), _) => shards.push((n, entry.metadata().map_or(0, |m| m.len()))),
                (_, Some(whole)) if number(whole).is_some() => parts.push(entry.path()),
                _ if name == INDEX || name == format!("{INDEX}{PART}") => (),
                _ => {
                    let reason = format!(
                        "the folder holds something else (`{name}`); name an empty one, or a new one"
                    );
                    return Err(fail(folder, reason));
                }
            }
        }
        // A set of something else is found before anything is written.
        if folder.join(INDEX).is_file()
            && let Some(why) = Index::read(folder)?.about.differs(about, &ALL)
        {
            return Err(another(folder, &why));
        }
        for (n, _) in &shards {
            let path = folder.join(shard_name(*n));
            let there = Shard::read(&path, *n).ok();
            if let Some(why) = there.and_then(|s| s.about.differs(about, &ALL)) {
                return Err(another(&path, &why));
            }
        }
        let path = part_of(&folder.join(INDEX));
        let open = File::options().create(true).append(true).open(&path);
        let index = open.map_err(io)?;
        if let Err(std::fs::TryLockError::WouldBlock) = index.try_lock() {
            return Err(fail(
                folder,
                "another process is packing into it: wait for its end",
            ));
        }
        for part in parts {
            std::fs::remove_file(part).map_err(io)?;
        }
        Ok(Self {
            folder: folder.into(),
            index,
            shards,
        })
    }

    /// Bytes of the shards that were there from this one on.
    pub(super) fn behind(&self, shard: usize) -> u64 {
        let behind = self.shards.iter().filter(|(n, _)| *n >= shard);
        behind.map(|(_, bytes)| *bytes).sum()
    }

    /// Brings the names in the folder to the disk; not every system lets a folder be synced.
    pub(super) fn sync(&self) {
        if let Ok(folder) = File::open(&self.folder) {
            let _ = folder.sync_all();
        }
    }

    /// Writes the index, unless it is there.
    ///
    /// # Errors
    /// The disk.
    pub(super) fn finish(&mut self, text: &str) -> std::io::Result<()> {
        let path = self.folder.join(INDEX);
        if std::fs::read(&path).is_ok_and(|t| t == text.as_bytes()) {
            return Ok(());
        }
        self.index.set_len(0)?;
        self.index.write_all(text.as_bytes())?;
        self.index.sync_all()?;
        std::fs::rename(part_of(&path), path)?;
        self.sync();
        Ok(())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // It is not there any more where it has become the index.
        let _ = std::fs::remove_file(part_of(&self.folder.join(INDEX)));
    }
}
