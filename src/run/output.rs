//! Files for people and other programs, under names that a user gave or that follow from such a name. One that is
//! already there may be anybody's, and is replaced only where that was asked for.

use super::checkpoint::stage;
use super::{Result, RunError, io};
use std::path::{Path, PathBuf};

/// Checks that files may be written: before any work is done, so that it is not in vain.
///
/// # Errors
/// A name that a folder has; without `overwrite`, names that are taken. Names them all.
pub fn free<P: AsRef<Path>>(files: &[P], overwrite: bool) -> Result<()> {
    let files = || files.iter().map(AsRef::as_ref);
    if let Some(folder) = files().find(|f| f.is_dir()) {
        return Err(RunError::Config(format!(
            "{} is a folder, and a file is to be written; choose another name",
            folder.display()
        )));
    }
    // A link that leads nowhere is there too.
    let taken: Vec<String> = files()
        .filter(|f| !overwrite && std::fs::symlink_metadata(f).is_ok())
        .map(|f| f.display().to_string())
        .collect();
    match taken.len() {
        0 => Ok(()),
        n => Err(RunError::Config(format!(
            "{} {} already there; choose another name, or replace {} with --overwrite",
            taken.join(" and "),
            if n == 1 { "is" } else { "are" },
            if n == 1 { "it" } else { "them" }
        ))),
    }
}

/// Writes files that belong together. All are on the disk before the first gets its name, so that a full disk leaves
/// none of them, and what was there before.
///
/// # Errors
/// As [`free`]; the disk.
pub fn write(files: &[(PathBuf, Vec<u8>)], overwrite: bool) -> Result<()> {
    let names: Vec<&PathBuf> = files.iter().map(|(path, _)| path).collect();
    free(&names, overwrite)?;
    let mut staged = Vec::new();
    for (path, bytes) in files {
        staged.push((path, stage(path, bytes)?));
    }
    for (path, file) in staged {
        let named = match overwrite {
            true => file.persist(path),
            // Another program may have made a file of this name since.
            false => file.persist_noclobber(path),
        };
        named.map_err(|e| io(path)(e.error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_there_stay_unless_all_may_be_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let both = |text: &str| ["a.npy", "a.csv"].map(|n| (at(n), text.as_bytes().to_vec()));
        let read = |name: &str| std::fs::read_to_string(at(name)).ok();
        std::fs::write(at("a.csv"), "mine").unwrap();
        let e = write(&both("new"), false).unwrap_err().to_string();
        assert!(
            e.contains("a.csv is already there") && e.contains("--overwrite"),
            "{e}"
        );
        assert_eq!((read("a.npy"), read("a.csv")), (None, Some("mine".into())));
        write(&both("new"), true).unwrap();
        assert_eq!(
            (read("a.npy"), read("a.csv")),
            (Some("new".into()), Some("new".into()))
        );
        let e = write(&both("newer"), false).unwrap_err().to_string();
        assert!(
            e.contains("a.npy and ") && e.contains("are already there"),
            "{e}"
        );
        std::fs::remove_file(at("a.csv")).unwrap();
        std::fs::create_dir(at("a.csv")).unwrap();
        let e = write(&both("newer"), true).unwrap_err().to_string();
        assert!(
            e.contains("is a folder") && read("a.npy") == Some("new".into()),
            "{e}"
        );
        // Nothing is left of the files under way.
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
