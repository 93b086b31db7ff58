//! MoCo's keys that ranks make for each other (`method.shuffle_ranks`): R ranks of s groups of batch norm make the step
//! of one rank of R s groups.

use crate::ranks::{BOUND, Fault, Seen, apart, config_with, data, f64s, on_ranks, steps_to};

use amcl_wgpu::comm::World;
use amcl_wgpu::config::Config;
use assert_cmd::Command;
use std::path::Path;

/// The queue is looked at too, key by key in its order, and the momentum copy.
const GROUPS: &[&str] = &["queue", "key_params"];

fn config(ranks: usize, groups: usize, set: &[&str], amcl: bool) -> Config {
    let groups = format!("method.bn_splits={groups}");
    config_with(
        "moco",
        amcl,
        (ranks, 1),
        &[&[groups.as_str()][..], set].concat(),
    )
}

/// One rank of so many groups.
fn alone(groups: usize, set: &[&str], amcl: bool) -> Seen {
    let c = config(1, groups, set, amcl);
    steps_to(&c, &World::default(), f64s(), (&data(), GROUPS))
}

fn ranks(c: &Config, ranks: usize, fault: Fault) -> Vec<Seen> {
    on_ranks(ranks, fault, |w| steps_to(c, w, f64s(), (&data(), GROUPS)))
}

const ACROSS: &str = "method.shuffle_ranks=true";

#[test]
fn groups_of_all_ranks_are_those_of_one() {
    let both: &[&str] = &["method.symmetric=true"];
    // A queue that two steps do not fill by whole keys of a step.
    let one_way: &[&str] = &["method.symmetric=false", "method.queue=20"];
    for (set, amcl) in [(both, false), (both, true), (one_way, false)] {
        for (n, groups) in [(2, 1), (2, 3), (3, 2), (4, 1)] {
            let whole = alone(n * groups, set, amcl);
            let c = config(n, groups, &[set, &[ACROSS]].concat(), amcl);
            let all = ranks(&c, n, Fault::None);
            assert!(all.iter().all(|s| *s == all[0]), "{n} ranks hold the same");
            let (e, what) = apart(&all[0], &whole);
            assert!(
                e < BOUND,
                "{set:?}, AMCL {amcl}, {n} x {groups}: {what} {e:.1e}"
            );
            // The controls: each rank's keys by themselves, and keys that do not come back.
            let own = ranks(&config(n, groups, set, amcl), n, Fault::None);
            let (e, _) = apart(&own[0], &whole);
            assert!(e > 1e-3, "{set:?}, AMCL {amcl}, {n} x {groups}: {e:.1e}");
            let (e, _) = apart(&ranks(&c, n, Fault::Echo)[0], &whole);
            assert!(e > 1e-3, "{set:?}, AMCL {amcl}, {n} x {groups}: {e:.1e}");
        }
    }
}

/// On one rank the groups are its own.
#[test]
fn one_rank_shuffles_as_ever() {
    assert!(alone(4, &[ACROSS], false) == alone(4, &[], false));
}

#[test]
fn what_cannot_be_grouped_across_ranks_is_said() {
    for (set, words) in [
        (&[ACROSS, "method.shuffle=false"][..], "set one of them"),
        (
            &[ACROSS, "optim.micro_batches=2"],
            "set optim.micro_batches = 1",
        ),
        (
            &[ACROSS, "model.sync_bn=true", "method.bn_splits=1"],
            "set model.sync_bn = false",
        ),
    ] {
        let all = [&["method.name=moco"][..], set].concat();
        let all: Vec<String> = all.iter().map(ToString::to_string).collect();
        let e = Config::parse("", &all).unwrap_err().to_string();
        assert!(e.contains(words) && !e.contains('\n'), "{set:?}: {e}");
    }
}

fn train(out: &Path, more: &[&str]) -> Command {
    let mut c = Command::new(assert_cmd::cargo::cargo_bin!("amcl-wgpu"));
    c.args(["train", "--no-report", "--method", "moco", "--out"])
        .arg(out);
    let set = [
        "data.shapes_train=96",
        "data.shapes_test=40",
        "heads.hidden=16",
        "heads.out=16",
        "model.width=4",
        "method.queue=96",
        "optim.batch_size=32",
        "optim.lr=0.1",
        "run.epochs=1",
    ];
    c.args(set.iter().flat_map(|s| ["--set", s])).args(more);
    c
}

/// The loss of the last epoch.
fn loss(out: &Path) -> f64 {
    let metrics = std::fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    let mut records = metrics
        .lines()
        .map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap());
    let last = records.rfind(|r| r["kind"] == "epoch").unwrap();
    last["loss"].as_f64().unwrap()
}

/// The trainer gives every rank the images of others whose keys it makes. In f32 sums have another order, of
/// which three steps make little.
#[test]
fn the_program_trains_so() {
    let dir = tempfile::tempdir().unwrap();
    let run = |name: &str, more: &[&str]| {
        let out = dir.path().join(name);
        train(&out, more).assert().success();
        loss(&out)
    };
    let devices = ["--devices", "cpu,cpu", "--set", "method.bn_splits=2"];
    let one = run("one", &["--device", "cpu", "--set", "method.bn_splits=4"]);
    let two = run("two", &[&devices[..], &["--set", ACROSS]].concat());
    assert!((two - one).abs() < 1e-6 * one, "{two} {one}");
    let within = run("within", &devices);
    assert!((within - one).abs() > 1e-4 * one, "{within} {one}");
    // Where images are read by blocks a rank would read those of all.
    let out = dir.path().join("blocks");
    let blocks = ["--set", ACROSS, "--set", "data.shuffle=blocks"];
    let failed = train(&out, &[&devices[..], &blocks].concat())
        .assert()
        .failure();
    let said = String::from_utf8_lossy(&failed.get_output().stderr).into_owned();
    assert!(
        said.contains("method.shuffle_ranks: images are shuffled by blocks"),
        "{said}"
    );
    assert!(!out.exists());
}
