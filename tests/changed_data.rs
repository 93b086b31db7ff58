//! A run knows its data again: what has changed is said when it is continued and when it is evaluated.

use assert_cmd::Command;
use image::{Rgb, RgbImage};
use std::path::Path;

/// Runs the program in a folder; all that it says.
fn says(folder: &Path, args: &[&str]) -> String {
    let mut c = Command::cargo_bin("amcl-wgpu").unwrap();
    let o = c.current_dir(folder).args(args).output().unwrap();
    let [out, err] = [&o.stdout, &o.stderr].map(|b| String::from_utf8_lossy(b).into_owned());
    assert!(o.status.success(), "{args:?}: {err}");
    out + &err
}

fn paint(folder: &Path, class: &str, colour: u8) {
    let folder = folder.join(class);
    std::fs::create_dir_all(&folder).unwrap();
    for i in 0..8u8 {
        let image = RgbImage::from_pixel(8, 8, Rgb([colour, 20 * i, 0]));
        image.save(folder.join(format!("{i}.png"))).unwrap();
    }
}

/// A run of one epoch, begun in `folder` on the images in `folder/data`, to be continued for a second one.
fn begun(folder: &Path) {
    for (class, colour) in [("cat", 10), ("dog", 90), ("eel", 200)] {
        paint(&folder.join("data"), class, colour);
    }
    says(
        folder,
        &[
            "train",
            "--device",
            "cpu",
            "--no-report",
            "--data",
            "data",
            "--out",
            "run",
            "--batch-size",
            "6",
            "--epochs",
            "1",
            "--set",
            "model.width=4",
            "--set",
            "heads.hidden=8",
            "--set",
            "heads.out=8",
            "--set",
            "model.image_size=8",
        ],
    );
    let config = folder.join("run/config.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    assert!(text.contains("\nepochs = 1\n"));
    std::fs::write(&config, text.replace("\nepochs = 1\n", "\nepochs = 2\n")).unwrap();
}

const RESUME: &[&str] = &["train", "--resume", "run", "--device", "cpu", "--no-report"];
const KNN: &[&str] = &["eval", "knn", "run", "--device", "cpu"];

#[test]
fn what_changed_is_said_on_resume_and_in_evaluations() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    begun(d);
    // The control: nothing has changed.
    assert!(!says(d, KNN).contains("changed"));
    std::fs::remove_dir_all(d.join("data/cat")).unwrap();
    std::fs::rename(d.join("data/dog"), d.join("data/zebra")).unwrap();
    let changes = "2 classes are not there any more (cat, dog); class zebra is new; 14 training images instead of 21; \
                   2 test images instead of 3";
    let evaluated = says(d, KNN);
    let want = format!("data: they have changed since the run was trained: {changes}");
    assert!(evaluated.contains(&want), "{evaluated}");
    let resumed = says(d, RESUME);
    let want =
        format!("data: they have changed since the run was last trained: {changes}. It goes on");
    assert!(resumed.contains(&want), "{resumed}");
    let log = std::fs::read_to_string(d.join("run/log.txt")).unwrap();
    assert!(log.contains(&want), "{log}");
    // From now on those are the run's data; that it began with others stays known.
    let evaluated = says(d, KNN);
    assert!(!evaluated.contains("have changed since"), "{evaluated}");
    let want = format!("data: they changed while the run was trained ({changes})");
    assert!(evaluated.contains(&want), "{evaluated}");
    // The same names with other pixels: all images, so that the sample has some.
    paint(&d.join("data"), "eel", 201);
    let evaluated = says(d, KNN);
    assert!(
        evaluated.contains("trained: other pixels of training images; other pixels of test"),
        "{evaluated}"
    );
}

#[test]
fn a_run_without_a_record_and_one_looked_at_from_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    begun(d);
    // The path is kept whole, so that another folder to start from finds the data too.
    let elsewhere = d.join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let file = d.join("run/environment.json");
    let text = std::fs::read_to_string(&file).unwrap();
    let mut all: serde_json::Value = serde_json::from_str(&text).unwrap();
    let path = all["data"]["path"].as_str().unwrap().to_string();
    assert!(
        Path::new(&path).is_absolute() && Path::new(&path).ends_with("data"),
        "{path}"
    );
    let run = d.join("run");
    let run = run.to_str().unwrap();
    let evaluated = says(&elsewhere, &["eval", "knn", run, "--device", "cpu"]);
    assert!(
        evaluated.contains("nothing at data; taken from where"),
        "{evaluated}"
    );
    let resumed = says(
        &elsewhere,
        &["train", "--resume", run, "--device", "cpu", "--no-report"],
    );
    assert!(
        resumed.contains("nothing at data; taken from where"),
        "{resumed}"
    );
    // A run of a program that kept no record compares nothing.
    all.as_object_mut().unwrap().remove("data");
    std::fs::write(&file, all.to_string()).unwrap();
    std::fs::remove_dir_all(d.join("data/cat")).unwrap();
    assert!(!says(d, KNN).contains("changed"));
    assert!(!says(d, RESUME).contains("changed"));
}
