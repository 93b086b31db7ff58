//! A sweep from the library: stopped, gone on with, a training that diverges among its trainings.

use amcl_wgpu::config::Config;
use amcl_wgpu::device::Choice;
use amcl_wgpu::downstream::encoder::{Encoder, Feature};
use amcl_wgpu::experiment::{EXPERIMENTS, Event, Experiment, Sweep};
use amcl_wgpu::graph::host::HostExecutor;
use amcl_wgpu::run::weights::of_run;
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
    let percent = |v: &Option<f64>| v.is_some_and(|v| (0.0..=100.0).contains(&v));
    assert!(rows[0].runs[0].iter().all(percent));
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

/// In parts: each does what is missing of its own, and the table has them all.
#[test]
fn a_sweep_is_done_in_parts() {
    let dir = tempfile::tempdir().unwrap();
    let part = |texts: &[&str]| {
        let experiment = Experiment::parse(TEXT).unwrap().on(None).unwrap();
        let sweep = Sweep::new(experiment, &[], dir.path(), Choice::Cpu).unwrap();
        let texts: Vec<String> = texts.iter().map(ToString::to_string).collect();
        sweep.only(&texts)
    };
    let done = |sweep: &Sweep| {
        let begun = Mutex::new(Vec::new());
        let end = sweep.run(&AtomicBool::new(false), &|e| {
            if let Event::Trial { number, all, .. } = e {
                begun.lock().unwrap().push((number, all));
            }
        });
        let rows = end.unwrap().table.rows;
        let seeds: Vec<usize> = rows.iter().map(|r| r.runs.len()).collect();
        (begun.into_inner().unwrap(), seeds)
    };
    let last = part(&["last"]).unwrap();
    assert_eq!(done(&last), (vec![(1, 1)], vec![0, 0, 1]));
    let both = part(&["last", "first-0"]).unwrap();
    assert_eq!(both.chosen().count(), 2);
    assert_eq!(done(&both), (vec![(1, 2)], vec![1, 0, 1]));
    assert_eq!(part(&[]).unwrap().chosen().count(), 3);
    let e = part(&["last", "middle"]).unwrap_err().to_string();
    assert!(e.contains("no run of this sweep has `middle`"), "{e}");
}

/// An axis that means another setting in a case: the table has the axis, the run the case's own setting; the control is
/// the case beside it, whose other setting stays.
#[test]
fn a_grids_setting_may_be_another_of_a_case() {
    let text = "preset = 'quickstart'\n[grid]\n'amcl.tau_const' = [0.1, 0.2]\n[[case]]\nname = 'constant'\n\
        [[case]]\nname = 'centred'\nset = { 'amcl.parametrisation' = 'centred' }\n\
        instead = { 'amcl.tau_const' = 'amcl.tau0' }\ngrid = { 'amcl.tau_const' = [0.2, 0.4] }\n";
    let dir = tempfile::tempdir().unwrap();
    let experiment = Experiment::parse(text).unwrap().on(None).unwrap();
    let sweep = Sweep::new(experiment, &[], dir.path(), Choice::Cpu).unwrap();
    let of = |t: &amcl_wgpu::experiment::Trial| {
        let a = &t.config.amcl.switches;
        (t.points[0][0].1.clone(), a.tau_const, a.tau0)
    };
    let all: Vec<_> = sweep.trials.iter().map(of).collect();
    let at = |point: &str, tau_const, tau0| (point.to_string(), tau_const, tau0);
    assert_eq!(
        all,
        [
            at("0.1", 0.1, 0.1),
            at("0.2", 0.2, 0.1),
            at("0.2", 0.1, 0.2),
            at("0.4", 0.1, 0.4)
        ]
    );
    let wrong = text.replace("instead = { 'amcl.tau_const'", "instead = { 'amcl.tau_min'");
    let e = Experiment::parse(&wrong).unwrap_err().to_string();
    assert!(
        e.contains("case `centred`: `instead` names amcl.tau_min"),
        "{e}"
    );
}

/// Vision Transformers of one block. `next` starts from `start` and stands before it in the file; nothing moves its
/// weights, nor those of `alone`.
const STARTS: &str = "preset = 'quickstart'\nseeds = [3, 4]\neval = ['knn', 'linear', 'few_label', 'finetune']\n\
    linear = { epochs = 2 }\nlabels = [2]\ndraws = 1\nfinetune = { recipe = 'mae', epochs = 1, batch_size = 30 }\n\
    [set]\n'data.shapes_train' = 60\n'data.shapes_test' = 30\n'optim.batch_size' = 30\n\
    'model.encoder' = 'vit_tiny'\n'model.patch' = 16\n'model.dim' = 12\n'model.depth' = 1\n'model.heads' = 2\n\
    'heads.count' = 2\n'heads.hidden' = 8\n'heads.out' = 8\n'run.epochs' = 1\n\
    [[case]]\nname = 'next'\ninit = 'start'\nset = { 'optim.lr' = 1e-30 }\n\
    [[case]]\nname = 'start'\nset = { 'optim.lr' = 0.5 }\n\
    [[case]]\nname = 'alone'\nskip = ['finetune']\nset = { 'optim.lr' = 1e-30, 'model.pool' = 'mean' }\n";

#[test]
fn a_case_starts_from_anothers_run_of_the_same_seed() {
    let dir = tempfile::tempdir().unwrap();
    let experiment = Experiment::parse(STARTS).unwrap();
    let sweep = Sweep::new(experiment, &[], dir.path(), Choice::Cpu).unwrap();
    let names = |t: &amcl_wgpu::experiment::Trial| {
        t.folder.file_name().unwrap().to_str().unwrap().to_string()
    };
    let order: Vec<String> = sweep.trials.iter().map(names).collect();
    assert_eq!(
        order,
        [
            "start-3",
            "next-from_start-3",
            "alone-3",
            "start-4",
            "next-from_start-4",
            "alone-4"
        ]
    );
    assert_eq!(sweep.trials[4].init.as_ref(), Some(&sweep.trials[3].folder));
    assert!(sweep.trials[5].init.is_none());
    let end = sweep.run(&AtomicBool::new(false), &|_| ()).unwrap();
    assert!(end.complete && end.missing().is_empty());
    // Both features stand in the table, by name.
    assert_eq!(
        end.table.columns,
        [
            "kNN top-1, class token, %",
            "kNN top-1, mean over patches, %",
            "linear top-1, class token, %",
            "linear top-1, mean over patches, %",
            "2 labels a class, class token, %",
            "2 labels a class, mean over patches, %",
            "fine-tuned top-1, %",
        ]
    );
    assert!(end.table.rows.iter().all(|r| r.runs.len() == 2));
    assert_eq!(end.table.rows[0].runs, end.table.rows[1].runs);
    // A case that skips a measure has an empty cell, the others a number.
    let tuned: Vec<bool> = end
        .table
        .rows
        .iter()
        .map(|r| r.runs[0][6].is_some())
        .collect();
    assert_eq!(tuned, [true, true, false]);
    assert_eq!(end.table.rows[2].result(6), "-");
    let linear = |i: usize| -> serde_json::Value {
        let text = std::fs::read_to_string(sweep.trials[i].folder.join("eval-linear.json"));
        serde_json::from_str(&text.unwrap()).unwrap()
    };
    // The same features as the start's: the probe's losses say so, and those of the controls differ.
    for start in [0, 3] {
        assert_eq!(linear(start)["features"], linear(start + 1)["features"]);
    }
    assert_ne!(linear(0)["features"], linear(3)["features"], "another seed");
    assert_ne!(linear(0)["features"], linear(2)["features"], "no start");
    // The pooled feature is the headline.
    for (i, pooled, other) in [(0, "token", "mean"), (2, "mean", "token")] {
        let v = linear(i);
        assert_eq!(
            (&v["feature"], &v["loss"]),
            (&pooled.into(), &v["features"][pooled]["loss"])
        );
        assert_ne!(v["loss"], v["features"][other]["loss"]);
        let said = v["protocol"].as_str().unwrap();
        assert!(
            said.contains("frozen class token and mean over patches"),
            "{said}"
        );
    }
    // Training measured the pooled feature, and says which that is.
    let summary = std::fs::read_to_string(sweep.trials[2].folder.join("summary.json")).unwrap();
    assert!(
        summary.contains("cosine, mean over patches, test transform"),
        "{summary}"
    );
    // What is done is not done again.
    let again = sweep.run(&AtomicBool::new(false), &|e| {
        assert!(!matches!(e, Event::Trial { .. }), "{e:?}");
    });
    assert_eq!(again.unwrap().table, end.table);
    one_pass_makes_each_feature(&sweep.trials[2].folder);
}

/// Both features from one pass are those that each gives alone.
fn one_pass_makes_each_feature(run: &std::path::Path) {
    let config = Config::parse(
        &std::fs::read_to_string(run.join("config.toml")).unwrap(),
        &[],
    );
    let config = config.unwrap();
    let split = config.open_data(&|_, _| ()).unwrap();
    let found = of_run(run, |w| panic!("{w}")).unwrap();
    let side = (split.test.height, split.test.width);
    let of = |features: &[Feature]| {
        let exec = Box::new(HostExecutor::<f32>::new());
        let (weights, epoch) = (&found.weights, found.at.epoch);
        let mut e = Encoder::of(&config, weights, epoch, exec, side, features).unwrap();
        let mut told = Vec::new();
        let each = e.each(&split.test, &mut |done, _| told.push(done)).unwrap();
        assert_eq!(told, [30], "one pass of one batch");
        (e.made.clone(), each)
    };
    let read = |name: &str| name.parse::<Feature>().unwrap();
    let (made, both) = of(&[]);
    assert_eq!(made, [read("token"), read("mean")]);
    assert_eq!(both[0], of(&[read("token")]).1[0]);
    assert_eq!(both[1], of(&[read("mean")]).1[0]);
    assert_ne!(both[0], both[1], "the control");
    // The pooled feature is the configuration's, under its name.
    let (made, pooled) = of(&[read("pooled")]);
    assert_eq!((made, &pooled[0]), (vec![read("mean")], &both[1]));
    let exec = Box::new(HostExecutor::<f32>::new());
    let asked = [read("token"), read("head:1")];
    let e = Encoder::of(&config, &found.weights, 1, exec, side, &asked);
    let e = e.err().unwrap().to_string();
    assert!(e.contains("--feature head:1 goes by itself"), "{e}");
}

/// A run whose start has diverged is left out, and said to be.
#[test]
fn without_a_start_a_run_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let text = TEXT.replace("name = 'last'", "name = 'last'\ninit = 'wild'");
    let sweep = Sweep::new(
        Experiment::parse(&text).unwrap(),
        &[],
        dir.path(),
        Choice::Cpu,
    );
    let sweep = sweep.unwrap();
    let left = Mutex::new(Vec::new());
    let end = sweep.run(&AtomicBool::new(false), &|e| {
        if let Event::LeftOut { folder, start } = e {
            left.lock()
                .unwrap()
                .push((folder.to_path_buf(), start.to_path_buf()));
        }
    });
    let end = end.unwrap();
    let folder = |i: usize| sweep.trials[i].folder.clone();
    assert_eq!(end.left_out, [folder(2)]);
    assert_eq!(*left.lock().unwrap(), [(folder(2), folder(1))]);
    assert_eq!(end.missing(), [folder(1), folder(2)]);
    assert!(!folder(2).exists());
}

#[test]
fn a_mistake_in_a_file_is_named() {
    for (text, why) in [
        ("preset = 'quickstart'", "no [[case]]"),
        ("seeds = []\n[[case]]\n", "must not be empty"),
        ("nonsense = 1\n[[case]]\n", "nonsense"),
        (
            "linear = { protocol = 'none' }\n[[case]]\n",
            "no protocol `none`",
        ),
        ("finetune = { recipe = 'moe' }\n[[case]]\n", "moe"),
        (
            "[grid]\n'run.epochs' = [1]\n[[case]]\nname = 'a'\ngrid = { 'optim.lr' = [1] }\n",
            "case `a`: its grid names optim.lr, which is not in the experiment's",
        ),
        (
            "[[case]]\nname = 'a'\ninit = 'mea'\n[[case]]\nname = 'mae'\n",
            "case `a`: `init` names `mea`, which is no case of the file; there are a, mae",
        ),
        (
            "[[case]]\nname = 'a'\ninit = 'b'\n[[case]]\nname = 'b'\ninit = 'a'\n",
            "case `a`: `init` leads back to the case itself",
        ),
    ] {
        let e = Experiment::parse(text).unwrap_err().to_string();
        assert!(e.contains(why), "{text}: {e}");
    }
    Experiment::parse("[[case]]\n").unwrap();
    // A start that has several runs for one of the case's.
    let text = "preset = 'quickstart'\n[grid]\n'run.epochs' = [1, 2]\n[[case]]\nname = 'one'\nwithout = ['run.epochs']\n\
        init = 'two'\n[[case]]\nname = 'two'\n";
    let e = Experiment::parse(text).unwrap();
    let e = Sweep::new(e, &[], std::path::Path::new("unused"), Choice::Cpu).unwrap_err();
    assert!(
        e.to_string()
            .contains("`without`: name the setting in neither or in both"),
        "{e}"
    );
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
