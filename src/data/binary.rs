//! Finds sets whose file names tell what they are: CIFAR, STL-10, IDX.

use super::names::is_litter;
use super::{DataError, Request, Split, cifar, idx, stl10};
use std::path::{Path, PathBuf};

/// Folders within folders that are searched for a binary set.
const LEVELS: usize = 2;
/// Most folders of one level that are searched.
const FOLDERS: usize = 32;

/// Opens the set in a folder, or the only one a few folders down; none where there is none.
///
/// # Errors
/// Several sets; files that are damaged or cannot be read; CIFAR's Python version.
pub(super) fn open(r: &Request<'_>, path: &Path) -> Result<Option<Split>, DataError> {
    let Some((folder, names)) = find(path)? else {
        return Ok(None);
    };
    let mut split = if cifar::is(&names) {
        cifar::open(&folder, &names)?
    } else if stl10::is(&names) {
        stl10::open(r, &folder, &names)?
    } else if idx::is(&names) {
        idx::open(&folder, &names)?
    } else {
        return Err(DataError::Format {
            path: path.into(),
            reason: "CIFAR's Python version, which is not read; fetch the binary one: amcl-wgpu data download \
                     cifar10 (or cifar100)"
                .into(),
        });
    };
    if folder != path {
        let note = format!("the set is that in {}", folder.display());
        split.warnings.insert(0, note);
    }
    Ok(Some(split))
}

/// Names of what is in a folder, and its folders but for litter.
fn listing(folder: &Path) -> Result<(Vec<String>, Vec<PathBuf>), DataError> {
    let io = |source| DataError::Io {
        path: folder.into(),
        source,
    };
    let (mut all, mut folders) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        // Only a link has to be followed to be known.
        let kind = entry.file_type().map_err(io)?;
        let path = entry.path();
        if (kind.is_dir() || (kind.is_symlink() && path.is_dir())) && !is_litter(&entry.file_name())
        {
            folders.push(path);
        }
        // Names that are no Unicode are none of the known ones.
        all.extend(entry.file_name().into_string().ok());
    }
    folders.sort();
    Ok((all, folders))
}

/// The folder of a binary set, of CIFAR, STL-10 or IDX: `path`, or the only one in it or two folders down
/// (`MNIST/raw`), with the names of what is in it. None where there is none.
///
/// # Errors
/// Several sets; a folder that cannot be read.
pub(super) fn find(path: &Path) -> Result<Option<(PathBuf, Vec<String>)>, DataError> {
    let mut level = vec![path.to_path_buf()];
    for _ in 0..=LEVELS {
        let (mut found, mut next) = (Vec::new(), Vec::new());
        for folder in &level {
            let (names, folders) = match listing(folder) {
                Ok(listing) => listing,
                Err(e) if folder == path => return Err(e),
                // What cannot be read is named where images are looked for.
                Err(_) => continue,
            };
            let known = cifar::is(&names) || stl10::is(&names) || idx::is(&names);
            if known || cifar::is_python(folder, &names) {
                found.push((folder.clone(), names));
            } else {
                next.extend(folders);
            }
        }
        if found.len() > 1 {
            let all: Vec<String> = found.iter().map(|(f, _)| f.display().to_string()).collect();
            return Err(DataError::Format {
                path: path.into(),
                reason: format!(
                    "several data sets are in it, name one of them: {}",
                    all.join(", ")
                ),
            });
        }
        if let Some(one) = found.pop() {
            return Ok(Some(one));
        }
        // So many folders are those of classes.
        if next.len() > FOLDERS {
            break;
        }
        level = next;
    }
    Ok(None)
}
