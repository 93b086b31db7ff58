//! What the program says of numbers that are given to it by flags.

use assert_cmd::Command;

/// What the program says to these arguments, which it refuses.
fn refused(args: &[&str]) -> String {
    let o = Command::cargo_bin("amcl-wgpu")
        .unwrap()
        .args(args)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&o.stderr).into_owned();
    assert!(
        !o.status.success() && !text.contains("panicked"),
        "{args:?}: {text}"
    );
    text
}

#[test]
fn flags_are_checked_like_settings_and_before_anything_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("no-run");
    let run = run.to_str().unwrap();
    let train = |more: &[&'static str]| {
        [
            &[
                "train",
                "--device",
                "cpu",
                "--data",
                "no/such/folder",
                "--out",
                "never",
            ][..],
            more,
        ]
        .concat()
    };
    let eval = |protocol, more: &[&'static str]| [&["eval", protocol, run][..], more].concat();
    for (args, want) in [
        (
            train(&["--batch-size", "0"]),
            "optim.batch_size is 0; it must be a whole number from 2",
        ),
        (
            train(&["--epochs", "1000001"]),
            "run.epochs is 1000001; it must be",
        ),
        (
            train(&["--seed", "18446744073709551615"]),
            "it must be a whole number from 0 to 9.22",
        ),
        (
            train(&["--set", "run.knn_t=nan"]),
            "run.knn_t is NaN; it must be",
        ),
        (
            train(&["--set", "augment.mean=[123.675,116.28,103.53]"]),
            "divided by 255",
        ),
        (
            train(&["--set", "model.width=9223372036854775807"]),
            "model.width is",
        ),
        (
            train(&["--set", "model.image_size=4000000000"]),
            "model.image_size is 4000000000",
        ),
        (
            train(&["--set", "schedule.warmup_epochs=30", "--epochs", "20"]),
            "from 0 to run.epochs, 20",
        ),
        (train(&["--method", "simclrr"]), "did you mean simclr?"),
        (train(&["--learning-rate", "1"]), "did you mean optim.lr?"),
        (train(&["--num-workers", "4"]), "there is none"),
        (eval("knn", &["--k", "0"]), "knn.k is 0; it must be"),
        (eval("knn", &["--t", "nan"]), "knn.t is NaN; it must be"),
        (
            eval("linear", &["--epochs", "0"]),
            "linear.epochs is 0; it must be",
        ),
        (
            eval("linear", &["--lr", "inf"]),
            "linear.lr is inf; it must be",
        ),
        (
            eval("linear", &["--protocol", "lightlyy"]),
            "did you mean lightly?",
        ),
        (eval("few-label", &["--draws", "0"]), "few_label.draws is 0"),
        (
            eval("few-label", &["--labels", "5,0"]),
            "few_label.labels is 0",
        ),
        (
            eval("finetune", &["--epochs", "0"]),
            "finetune.epochs is 0; it must be",
        ),
        (
            eval("finetune", &["--fractions", "0.5,1.5"]),
            "finetune.fractions is 1.5; it must be",
        ),
        (
            eval("finetune", &["--weight-decay", "nan"]),
            "finetune.weight_decay is NaN",
        ),
        (
            eval("similarity", &["--pairs", "0"]),
            "similarity.pairs is 0; it must be",
        ),
        (
            vec!["bench", "--seconds", "nan"],
            "it must be larger than 0",
        ),
        (
            vec![
                "bench",
                "--device",
                "cpu",
                "--filter",
                "step",
                "--batch-size",
                "0",
            ],
            "optim.batch_size is 0",
        ),
        (
            vec!["check", "--device", "cpu", "--max-binding", "0"],
            "it must be a whole number from 4096",
        ),
        (
            vec!["preview", "--out", "x.png", "--count", "0"],
            "it must be a whole number from 1 to 256",
        ),
        (
            vec!["data", "inspect", "shapes", "--size", "100000"],
            "stored_size is 100000",
        ),
    ] {
        let said = refused(&args);
        assert!(said.contains(want), "{args:?}: {said}");
    }
    // The control: with numbers inside, the folders are what is refused.
    assert!(refused(&train(&["--batch-size", "4"])).contains("no/such/folder"));
    assert!(refused(&eval("knn", &["--k", "1", "--t", "0.5"])).contains("is no run folder"));
}

#[test]
fn steps_are_counted_in_32_bits_and_more_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let set = [
        "--set",
        "data.shapes_train=8800",
        "--set",
        "data.shapes_test=2",
        "--batch-size",
        "2",
    ];
    let run = [
        "train",
        "--device",
        "cpu",
        "--epochs",
        "1000000",
        "--out",
        out.to_str().unwrap(),
    ];
    let said = refused(&[&run[..], &set].concat());
    assert!(
        said.contains("1000000 epochs of 8800 images") && said.contains("fewer epochs"),
        "{said}"
    );
}

/// A preset's own warm-up stays where a flag makes the run shorter, and is told; one that was asked for is refused.
#[test]
fn a_warm_up_longer_than_the_run_is_told_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let small = [
        "data.shapes_train=8",
        "data.shapes_test=2",
        "model.width=4",
        "heads.hidden=8",
        "heads.out=8",
        "optim.batch_size=4",
        "run.knn_k=1",
    ];
    let mut c = Command::cargo_bin("amcl-wgpu").unwrap();
    c.args([
        "train",
        "--device",
        "cpu",
        "--no-report",
        "--epochs",
        "1",
        "--out",
    ])
    .arg(&out);
    for set in small {
        c.args(["--set", set]);
    }
    let o = c.output().unwrap();
    let said = String::from_utf8_lossy(&o.stdout).into_owned();
    assert!(
        o.status.success() && said.contains("the run ends within its warm-up"),
        "{said}"
    );
    let own = folder.path().join("own.toml");
    let own_text = |epochs: u32| {
        let text = format!("[schedule]\nwarmup_epochs = 5\n[run]\nepochs = {epochs}\n");
        std::fs::write(&own, text).unwrap();
    };
    let train = [
        "train",
        "--data",
        "no/such/folder",
        "--config",
        own.to_str().unwrap(),
    ];
    own_text(4);
    assert!(
        refused(&train).contains("schedule.warmup_epochs is 5; it must be from 0 to run.epochs, 4")
    );
    // The control: as long as the run.
    own_text(5);
    assert!(refused(&train).contains("no/such/folder"));
}
