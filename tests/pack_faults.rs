//! Packing that is stopped or killed, a full disk, damage and bad images: nothing of it goes unseen.

use crate::common::images::photos as source;
use crate::common::packs::{
    NEVER, SIDE, command, files, flip, packed, packing, refused, request, said, same_files,
    same_split,
};
use amcl_wgpu::data::pack::pack;
use amcl_wgpu::data::{Keeping, Request, open};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

#[test]
fn packing_stops_at_once_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    source(&at("data"), 60);
    packed(&at("data"), &at("whole"), |_| ());
    let (from, out, stop) = (at("data"), at("pack"), AtomicBool::new(false));
    let mut p = packing(&from, &out, &stop);
    let halt = |done: usize, _: usize| stop.store(done >= 30, Ordering::Relaxed);
    p.data.progress = &halt;
    p.data.keeping.threads = 1;
    let summary = pack(&p).unwrap();
    assert!(!summary.finished && summary.shards == 1, "{summary:?}");
    let there: Vec<String> = files(&out).into_keys().collect();
    assert_eq!(there, ["shard-00000.pack"], "the part is gone");
    refused(
        open(&request(&out)),
        &["was not finished", "goes on where it broke off"],
    );
    let summary = packed(&from, &out, |_| ());
    assert_eq!((summary.found, summary.images), (1, 72));
    same_files(&at("whole"), &out);
}

#[test]
fn a_pack_that_is_killed_again_and_again_has_the_bytes_of_one_that_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    source(&at("data"), 300);
    let begin = Instant::now();
    assert!(
        command(&at("data"), &at("whole"))
            .status()
            .unwrap()
            .success()
    );
    let long = begin.elapsed();
    let (mut killed, mut state) = (0, 11u32);
    let out = at("pack");
    loop {
        let mut child = command(&at("data"), &out).spawn().unwrap();
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        // Longer and longer, so that it comes to an end on a machine that is slow by then.
        let share = f64::from(state >> 8) / f64::from(1 << 24) * (0.6 + 0.1 * f64::from(killed));
        std::thread::sleep(long.mul_f64(share));
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success());
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        killed += 1;
        assert!(killed < 60, "it never ends");
    }
    assert!(killed >= 2, "{killed} kills");
    same_files(&at("whole"), &out);
}

#[test]
fn the_program_packs_and_an_interrupt_says_how_to_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    source(&at("data"), 300);
    let out = at("pack");
    let begin = Instant::now();
    let whole = command(&at("data"), &at("whole")).status().unwrap();
    assert!(whole.success());
    let long = begin.elapsed();
    let mut c = command(&at("data"), &out);
    let child = c
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(long / 2);
    let mut kill = std::process::Command::new("kill");
    kill.args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    let o = child.wait_with_output().unwrap();
    let text = said(&o);
    // On a machine that is much faster now it is through.
    if !o.status.success() {
        assert!(
            text.contains("run the same command again, and it goes on from there"),
            "{text}"
        );
        assert!(files(&out).keys().all(|name| !name.ends_with(".part")));
    } else {
        println!("it ended within {:?} of {long:?}", long / 2);
    }
    let mut c = command(&at("data"), &out);
    let o = c
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let text = said(&o);
    assert!(
        o.status.success() && text.contains("360 images in"),
        "{text}"
    );
    assert!(text.contains("next: amcl-wgpu train --data"), "{text}");
    same_files(&at("whole"), &out);
}

#[test]
fn damage_is_found_named_and_mended() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    source(&at("data"), 60);
    let out = at("pack");
    packed(&at("data"), &out, |_| ());
    packed(&at("data"), &at("whole"), |_| ());
    let shard = out.join("shard-00001.pack");
    let len = std::fs::metadata(&shard).unwrap().len() as usize;
    let lazy = || {
        let keeping = Keeping {
            memory: 0,
            ..Keeping::default()
        };
        open(&Request {
            keeping,
            ..request(&out)
        })
    };
    let mend = |words: &[&str]| {
        let summary = packed(&at("data"), &out, |_| ());
        assert_eq!(summary.found, 3, "one shard is made anew");
        for w in words {
            assert!(
                summary.notes.iter().any(|n| n.contains(w)),
                "{:?}",
                summary.notes
            );
        }
        same_files(&at("whole"), &out);
    };
    // A byte of a pixel: found when the image is read, whenever that is. All images are read, and one is wrong.
    flip(&shard, 4096 + 5 * 3 * SIDE * SIDE + 777);
    let words = [
        "record 5 of shard-00001.pack",
        "checksum",
        "remove",
        "pack again",
    ];
    refused(open(&request(&out)), &words);
    let split = lazy().unwrap();
    let read = (0..split.train.len()).map(|i| split.train.image(i));
    let faults: Vec<String> = read.filter_map(|i| Some(i.err()?.to_string())).collect();
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(words.iter().all(|w| faults[0].contains(w)), "{faults:?}");
    assert!(
        faults[0].contains("train/cat/052."),
        "the image's name: {faults:?}"
    );
    std::fs::remove_file(&shard).unwrap();
    refused(lazy(), &["shard-00001.pack", "it is missing"]);
    mend(&[]);
    // A byte of the header, of the footer, and what is cut off: found when the set is opened.
    for (place, words) in [(50, "header"), (len - 60, "footer"), (len - 3, "cut off")] {
        flip(&shard, place);
        refused(lazy(), &["shard-00001.pack", words, "made anew"]);
        mend(&["shard-00001.pack", words]);
    }
    std::fs::File::options()
        .write(true)
        .open(&shard)
        .unwrap()
        .set_len(100_000)
        .unwrap();
    refused(lazy(), &["shard-00001.pack", "cut off"]);
    mend(&["cut off"]);
    // One shard in another's place; one of another set.
    std::fs::copy(out.join("shard-00000.pack"), &shard).unwrap();
    refused(lazy(), &["shard-00001.pack", "it is shard 0"]);
    mend(&["it is shard 0"]);
    packed(&at("data"), &at("mixed"), |p| p.shuffle = Some(1));
    std::fs::copy(at("mixed/shard-00001.pack"), &shard).unwrap();
    refused(lazy(), &["shard-00001.pack", "belongs to another set"]);
    refused(
        pack(&packing(&at("data"), &out, &NEVER)),
        &["shard-00001.pack", "shuffle is 1"],
    );
    std::fs::remove_file(&shard).unwrap();
    mend(&[]);
    // The index.
    let index = out.join("pack.json");
    let text = std::fs::read_to_string(&index).unwrap();
    std::fs::write(&index, text.replace("\"cat\"", "\"cow\"")).unwrap();
    refused(lazy(), &["pack.json", "damaged", "the shards are kept"]);
    std::fs::remove_file(&index).unwrap();
    refused(lazy(), &["was not finished"]);
    assert_eq!(packed(&at("data"), &out, |_| ()).found, 4);
    same_files(&at("whole"), &out);
}

#[test]
fn bad_images_are_named_counted_and_left_out_up_to_a_limit() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    source(&at("data"), 60);
    let whole = open(&request(&at("data"))).unwrap();
    for name in ["007.jpg", "040.jpg"] {
        let class = if name == "007.jpg" { "dog" } else { "cat" };
        let file = at("data/train").join(class).join(name);
        let bytes = std::fs::read(&file).unwrap();
        std::fs::write(file, &bytes[..bytes.len() / 2]).unwrap();
    }
    let out = at("pack");
    refused(
        pack(&packing(&at("data"), &out, &NEVER)),
        &["2 images", "data.max_bad", "040.jpg"],
    );
    let summary = packed(&at("data"), &out, |p| p.data.keeping.max_bad = 0.1);
    assert_eq!((summary.images, summary.bad), (70, 2));
    let folder = open(&request(&at("data"))).unwrap();
    let split = open(&request(&out)).unwrap();
    same_split(&folder, &split);
    assert_eq!(split.train.len(), whole.train.len() - 2);
    assert_eq!(split.train.images, folder.train.images);
    for words in ["train/dog/007.jpg", "train/cat/040.jpg", "2 of 72 files"] {
        for notes in [&summary.notes, &split.warnings] {
            assert!(
                notes.iter().any(|n| n.contains(words)),
                "{words}: {notes:?}"
            );
        }
    }
}

/// Mounts a small disk; none where this process may not.
fn small_disk(at: &Path, kib: usize) -> Option<impl Drop + use<>> {
    struct Mounted(PathBuf);
    impl Drop for Mounted {
        fn drop(&mut self) {
            let _ = std::process::Command::new("umount").arg(&self.0).status();
        }
    }
    std::fs::create_dir(at).unwrap();
    let size = format!("size={kib}k");
    let mut mount = std::process::Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at);
    let done = mount.stderr(Stdio::null()).status();
    done.is_ok_and(|s| s.success()).then(|| Mounted(at.into()))
}

#[test]
fn a_full_disk_costs_the_shard_that_is_written_and_says_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let disk = at("disk");
    let Some(_mounted) = small_disk(&disk, 5000) else {
        println!("not tested: this process may not mount a small disk");
        return;
    };
    source(&at("data"), 80);
    // 96 records of 48 KiB are 4.5 MiB, and there is room for them. Then somebody else takes it.
    let (from, out, other) = (at("data"), disk.join("pack"), disk.join("other"));
    let mut p = packing(&from, &out, &NEVER);
    p.data.keeping.threads = 1;
    let take = |done: usize, _: usize| {
        if done == 30 {
            let _ = std::fs::write(&other, vec![1; 3 << 20]);
        }
    };
    p.data.progress = &take;
    refused(
        pack(&p),
        &["are missing", "1 finished shard is kept", "run it again"],
    );
    assert_eq!(
        files(&out).into_keys().collect::<Vec<_>>(),
        ["shard-00000.pack"]
    );
    // Said before anything is written.
    refused(
        pack(&packing(&from, &out, &NEVER)),
        &[
            "packing takes some",
            "are free there",
            "are missing",
            "jpeg90",
        ],
    );
    std::fs::remove_file(&other).unwrap();
    let summary = packed(&from, &out, |_| ());
    assert_eq!((summary.found, summary.images), (1, 96));
    packed(&from, &at("whole"), |_| ());
    same_files(&at("whole"), &out);
}
