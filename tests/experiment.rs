//! A sweep from the library: stopped, gone on with, a training that diverges among its trainings.

use amcl_wgpu::device::Choice;
use amcl_wgpu::experiment::{EXPERIMENTS, Event, Experiment, Sweep};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

const TEXT: &str = "title = 'three'\npreset = 'quickstart'\neval = ['knn', 'linear']\nlinear = { epochs = 2 }\n\
    [set]\n'data.shapes_train' = 60\n'data.shapes_test' = 30\n'optim.batch_size' = 30\n\
    'model.width' = 4\n'model.stem_stride' = 2\n\
    'heads.count' = 2\n'heads.hidden' = 8\n'heads.out' = 8\n'run.epochs' = 1\n\
    [[case]]\nname = 'first'\n[[case]]\nname = 'wild'\n\
    set = { 'optim.lr' = 1e30, 'optim.clip' = 0 }\n[[case]]\nname = 'last'\n";

#[test]
fn a_sweep_stops_goes_on_and_keeps_what_diverged() {
    let dir = tempfile::tempdir().unwrap();
    let experiment = Experiment::parse(TEXT).unwrap().on(None).unwrap();
    let sweep = Sweep::new(experiment, &[], dir.path(), Choice::Cpu).unwrap();
    assert_eq!(sweep.trials.len(), 3);
    // Stopped while the first training is under way.
    let stop = AtomicBool::new(false);
    let end = sweep.run(&stop, &|e| {
        if matches!(e, Event::Notice(_)) {
            stop.store(true, Ordering::Relaxed);
        }
    });
    let end = end.unwrap();
    assert!(!end.complete && end.diverged.is_empty());
    assert!(sweep.trials[2].results(&sweep.experiment).is_none());
    // Gone on with, to the end.
    let (begun, diverged) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let end = sweep.run(&AtomicBool::new(false), &|e| match e {
        Event::Trial { number, all, .. } => begun.lock().unwrap().push((number, all)),
        Event::Diverged { folder, .. } => diverged.lock().unwrap().push(folder.to_path_buf()),
        _ => {}
    });
    let end = end.unwrap();
    assert!(end.complete);
    assert_eq!(*begun.lock().unwrap(), [(1, 3), (2, 3), (3, 3)]);
    assert_eq!(end.diverged, [sweep.trials[1].folder.clone()]);
    assert_eq!(*diverged.lock().unwrap(), end.diverged);
    let rows = &end.table.rows;
    let seeds: Vec<usize> = rows.iter().map(|r| r.runs.len()).collect();
    assert_eq!(seeds, [1, 0, 1]);
    // The same configuration, so the same numbers, in percent.
    assert_eq!(rows[0].runs, rows[2].runs);
    assert!(rows[0].runs[0].iter().all(|v| (0.0..=100.0).contains(v)));
    let table = std::fs::read_to_string(dir.path().join("table.md")).unwrap();
    assert_eq!(table, end.table.markdown());
    // What is done is not done again, but for what diverged.
    let begun = Mutex::new(Vec::new());
    let again = sweep.run(&AtomicBool::new(false), &|e| {
        if let Event::Trial { number, .. } = e {
            begun.lock().unwrap().push(number);
        }
    });
    assert_eq!(again.unwrap().table, end.table);
    assert_eq!(*begun.lock().unwrap(), [2]);
}

/// A case that starts from another one's weights has those of the same seed; where the other one diverged, it is lost
/// with it, and that is said.
#[test]
fn a_case_starts_from_another_ones_weights() {
    let dir = tempfile::tempdir().unwrap();
    let text = "preset = 'quickstart'\nseeds = [0, 1]\n\
        [set]\n'data.shapes_train' = 40\n'data.shapes_test' = 30\n'optim.batch_size' = 20\n'run.epochs' = 1\n\
        'model.encoder' = 'vit_tiny'\n'model.dim' = 12\n'model.depth' = 3\n'model.patch' = 8\n\
        'heads.hidden' = 8\n'heads.out' = 8\n'heads.count' = 1\n'amcl.enabled' = false\n\
        [[case]]\nname = 'start'\n[[case]]\nname = 'wild'\nset = { 'optim.lr' = 1e30, 'optim.clip' = 0 }\n\
        [[case]]\nname = 'grafted'\ninit = 'start'\nset = { 'method.name' = 'lgp' }\n\
        [[case]]\nname = 'lost'\ninit = 'wild'\nset = { 'method.name' = 'lgp' }\n";
    let experiment = Experiment::parse(text).unwrap().on(None).unwrap();
    let sweep = Sweep::new(experiment, &[], dir.path(), Choice::Cpu).unwrap();
    let why = Mutex::new(Vec::new());
    let end = sweep.run(&AtomicBool::new(false), &|e| {
        if let Event::Diverged { error, .. } = e {
            why.lock().unwrap().push(error.to_string());
        }
    });
    assert!(end.unwrap().complete);
    let why = why.into_inner().unwrap();
    let lost = why.iter().filter(|w| w.contains("which diverged"));
    assert_eq!((why.len(), lost.count()), (4, 2), "{why:?}");
    for seed in 0..2 {
        let log = dir.path().join(format!("grafted-{seed}/log.txt"));
        let log = std::fs::read_to_string(log).unwrap();
        let line = log.lines().find(|l| l.starts_with("weights from")).unwrap();
        assert!(line.contains(&format!("start-{seed}")), "{line}");
        assert!(!dir.path().join(format!("lost-{seed}")).exists());
    }
}

#[test]
fn a_mistake_in_a_file_is_named() {
    for (text, why) in [
        ("preset = 'quickstart'", "no [[case]]"),
        ("seeds = []\n[[case]]\n", "must not be empty"),
        ("nonsense = 1\n[[case]]\n", "nonsense"),
        (
            "[[case]]\nname = 'a'\ninit = 'b'\n[[case]]\nname = 'b'\n",
            "case `a`: `init` names `b`, which is no case before it",
        ),
        (
            "linear = { protocol = 'none' }\n[[case]]\n",
            "no protocol `none`",
        ),
    ] {
        let e = Experiment::parse(text).unwrap_err().to_string();
        assert!(e.contains(why), "{text}: {e}");
    }
    Experiment::parse("[[case]]\n").unwrap();
    let text = "preset = 'quickstart'\n[[case]]\nname = 'big'\ntimes = { 'heads.hidden' = 9223372036854775807 }\n";
    let e = Experiment::parse(text).unwrap();
    let folder = std::path::Path::new("unused");
    let e = Sweep::new(e, &[], folder, Choice::Cpu).unwrap_err();
    assert!(e.to_string().contains("case `big`"), "{e}");
}

/// Whoever adds a file to the folder has added the experiment.
#[test]
fn the_experiments_are_the_files_of_their_folder() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/experiments");
    let mut files: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .map(|p| p.file_stem().unwrap().to_str().unwrap().to_string())
        .collect();
    files.sort();
    let names: Vec<&str> = EXPERIMENTS.iter().map(|e| e.0).collect();
    assert_eq!(names, files);
}
