//! Claims of folders: who gets one, and what becomes of what lies there.

use super::*;
use std::collections::BTreeMap;

/// Every file under a folder with its content; the lock's aside.
fn files(path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for e in walkdir::WalkDir::new(path).into_iter().flatten() {
        if e.file_type().is_file() && e.file_name() != LOCK {
            all.insert(e.path().into(), std::fs::read(e.path()).unwrap());
        }
    }
    all
}

/// The folder of a run that ended.
fn finished(path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    std::fs::create_dir_all(path.join(CHECKPOINTS)).unwrap();
    for name in [
        "config.toml",
        "metrics.jsonl",
        "eval-knn.json",
        "checkpoints/step-00000009.safetensors",
    ] {
        std::fs::write(path.join(name), format!("old {name}")).unwrap();
    }
    files(path)
}

/// What a new run writes, up to its first checkpoint where `whole`.
fn write_new(folder: &RunFolder, whole: bool) {
    folder.write("config.toml", "new").unwrap();
    if whole {
        let path = folder.checkpoints().join("step-00000000.safetensors");
        std::fs::write(path, "new").unwrap();
    }
}

fn refusal(path: &Path, purpose: Purpose) -> String {
    Claim::take(path, purpose).unwrap_err().to_string()
}

#[test]
fn a_run_that_does_not_come_to_its_first_checkpoint_puts_the_old_one_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    let old = finished(&path);
    // Given up before anything is written: the data could not be opened, say.
    drop(Claim::take(&path, Purpose::Replace).unwrap());
    assert_eq!(files(&path), old);
    assert!(!path.join(LOCK).exists());
    // Given up after the first files.
    let folder = Claim::take(&path, Purpose::Replace)
        .unwrap()
        .enter()
        .unwrap();
    write_new(&folder, false);
    assert_ne!(files(&path), old, "the control: files were moved");
    drop(folder);
    assert_eq!(files(&path), old);
    // Once the run stands, the old one is gone.
    let mut folder = Claim::take(&path, Purpose::Replace)
        .unwrap()
        .enter()
        .unwrap();
    write_new(&folder, true);
    folder.stands().unwrap();
    drop(folder);
    let new = files(&path);
    assert!(new.values().all(|v| !v.starts_with(b"old")), "{new:?}");
    assert!(!path.join(ASIDE).exists() && path.join("config.toml").exists());
}

/// Writes as a run does that is killed.
fn killed(path: &Path, whole: bool) {
    let folder = Claim::take(path, Purpose::Replace)
        .unwrap()
        .enter()
        .unwrap();
    write_new(&folder, whole);
    folder.kill();
}

#[test]
fn what_a_kill_cut_off_is_put_in_order_by_the_next_claim() {
    for purpose in [Purpose::Replace, Purpose::Resume] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run");
        let old = finished(&path);
        killed(&path, false);
        assert!(refusal(&path, Purpose::New).contains("already holds something"));
        assert!(
            readable(&path)
                .unwrap_err()
                .to_string()
                .contains("--resume")
        );
        let claim = Claim::take(&path, purpose).unwrap();
        assert!(claim.note.as_ref().is_some_and(|n| n.contains("is back")));
        drop(claim);
        assert_eq!(files(&path), old, "{purpose:?}");
        assert!(readable(&path).is_ok());
        // Cut off while the files were moved, the one way and the other.
        std::fs::create_dir(path.join(MOVING)).unwrap();
        std::fs::rename(
            path.join("config.toml"),
            path.join(MOVING).join("config.toml"),
        )
        .unwrap();
        assert!(mend(&path).unwrap().is_some());
        assert_eq!(files(&path), old, "{purpose:?}");
        assert_eq!(mend(&path).unwrap(), None);
        // Cut off when the new run stood: the new one stays.
        killed(&path, true);
        assert!(readable(&path).is_ok());
        let claim = Claim::take(&path, purpose).unwrap();
        assert_eq!(claim.note, None);
        drop(claim);
        assert_eq!(std::fs::read(path.join("config.toml")).unwrap(), b"new");
        assert!(!path.join(ASIDE).exists() && !path.join("eval-knn.json").exists());
    }
}

#[test]
fn a_folder_is_refused_before_anything_is_made_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    finished(&path);
    std::fs::write(path.join("notes.txt"), "mine").unwrap();
    let before = files(&path);
    assert!(refusal(&path, Purpose::New).contains("already holds something"));
    assert!(refusal(&path, Purpose::Replace).contains("`notes.txt`"));
    assert_eq!(files(&path), before);
    assert!(!path.join(LOCK).exists());
    let file = path.join("notes.txt");
    for purpose in [Purpose::New, Purpose::Replace] {
        assert!(refusal(&file, purpose).contains("is a file"));
    }
    assert_eq!(files(&path), before);
}

#[test]
fn a_claim_that_is_given_up_leaves_nothing_and_one_that_is_held_keeps_others_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/b/run");
    let claim = Claim::take(&path, Purpose::New).unwrap();
    for purpose in [Purpose::New, Purpose::Replace, Purpose::Resume] {
        assert!(refusal(&path, purpose).contains("another process is training"));
    }
    drop(claim);
    assert!(!dir.path().join("a").exists());
    // A lock's file alone is what a kill leaves of a claim: the folder is free.
    std::fs::create_dir_all(&path).unwrap();
    std::fs::write(path.join(LOCK), "").unwrap();
    drop(Claim::take(&path, Purpose::New).unwrap());
    assert!(path.join(LOCK).exists(), "it was there before");
    let folder = Claim::take(&path, Purpose::New).unwrap().enter().unwrap();
    folder.write("config.toml", "new").unwrap();
    drop(folder);
    assert!(path.join("config.toml").exists());
    // A run that was over before the second looked again.
    assert!(refusal(&path, Purpose::New).contains("already holds something"));
}

#[test]
fn of_many_starts_at_once_each_gets_a_folder_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("runs");
    let mut got: Vec<PathBuf> = std::thread::scope(|s| {
        let one = || numbered(&base, "quickstart-0").unwrap();
        let all: Vec<_> = (0..16).map(|_| s.spawn(one)).collect();
        all.into_iter().map(|t| t.join().unwrap()).collect()
    });
    got.sort();
    got.dedup();
    assert_eq!(got.len(), 16);
    assert!(base.join("quickstart-0").is_dir() && base.join("quickstart-0.15").is_dir());
    // And of many that want the same folder one alone gets it.
    let path = base.join("same");
    let claims: Vec<_> = std::thread::scope(|s| {
        let one = || Claim::take(&path, Purpose::New);
        let all: Vec<_> = (0..16).map(|_| s.spawn(one)).collect();
        all.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert_eq!(claims.iter().filter(|c| c.is_ok()).count(), 1);
}
