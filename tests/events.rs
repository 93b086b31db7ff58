//! A run as a caller of the library follows it: events in order, stopping, going on, and what the files keep of it.

use amcl_wgpu::config::Config;
use amcl_wgpu::device::Choice;
use amcl_wgpu::run::event::Event;
use amcl_wgpu::train::{Outcome, Trainer};
use serde_json::Value;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Three epochs of four steps on 64 generated images.
fn config(over: &[&str]) -> Config {
    let small = [
        "data.shapes_train=64",
        "data.shapes_test=30",
        "model.width=4",
        "heads.hidden=8",
        "heads.out=8",
        "optim.batch_size=16",
        "run.epochs=3",
        "run.knn_every=2",
    ];
    let all: Vec<String> = small.iter().chain(over).map(ToString::to_string).collect();
    Config::parse("", &all).unwrap()
}

/// Trains on the CPU, and stops after so many steps.
fn run(config: &Config, folder: &Path, resume: bool, steps: usize) -> (Outcome, Vec<Event>) {
    let (stop, mut events) = (AtomicBool::new(false), Vec::new());
    let outcome = Trainer::new(config.clone())
        .device(Choice::Cpu)
        .out(folder)
        .resume(resume)
        .stop(&stop)
        .on_event(|event| {
            if matches!(event, Event::Step(s) if s.step == steps) {
                stop.store(true, Ordering::Relaxed);
            }
            events.push(event.clone());
        })
        .run()
        .unwrap();
    (outcome, events)
}

/// Names of the events, each once where it comes several times in a row; progress left out.
fn names(events: &[Event]) -> Vec<&'static str> {
    let name = |e: &Event| match e {
        Event::Data { .. } => "data",
        Event::Device { .. } => "device",
        Event::Started { .. } => "started",
        Event::Resumed(_) => "resumed",
        Event::Unlabelled => "unlabelled",
        Event::Views { .. } => "views",
        Event::Step(_) => "step",
        Event::Similarities(_) => "similarities",
        Event::Evaluated(_) => "evaluated",
        Event::Epoch(_) => "epoch",
        Event::Saved { .. } => "saved",
        Event::Stopped { .. } => "stopped",
        Event::Finished(_) => "finished",
        _ => "other",
    };
    let mut all: Vec<&str> = events.iter().map(name).filter(|n| *n != "other").collect();
    all.dedup();
    all
}

/// The records of a run without what depends on the clock.
fn records(folder: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    let timeless = |line: &str| {
        let mut v: Value = serde_json::from_str(line).unwrap();
        for key in ["seconds", "images_per_s"] {
            v.as_object_mut().unwrap().remove(key);
        }
        v
    };
    text.lines().map(timeless).collect()
}

/// The table of epochs without its seconds.
fn table(folder: &Path) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(folder.join("metrics.csv")).unwrap();
    let row = |line: &str| {
        let mut cells: Vec<String> = line.split(',').map(ToString::to_string).collect();
        cells.remove(4);
        cells
    };
    text.lines().map(row).collect()
}

#[test]
fn a_run_that_is_stopped_and_goes_on_tells_and_keeps_what_an_uninterrupted_one_does() {
    let dir = tempfile::tempdir().unwrap();
    let [whole, cut] = ["whole", "cut"].map(|name| dir.path().join(name));
    let config = config(&[]);
    let (outcome, events) = run(&config, &whole, false, usize::MAX);
    assert!(outcome.finished && outcome.trained.is_some());
    let before = ["data", "device", "started", "saved", "evaluated", "views"];
    let last = ["step", "similarities", "evaluated", "epoch", "saved"];
    let expected = [
        &before,
        &["step", "epoch", "saved"][..],
        &last,
        &last,
        &["finished"],
    ]
    .concat();
    assert_eq!(names(&events), expected);

    // The run stops within the second epoch.
    let (stopped, first) = run(&config, &cut, false, 5);
    assert!(!stopped.finished);
    assert_eq!(names(&first).last(), Some(&"stopped"));
    assert!(!cut.join("summary.json").exists());
    let (resumed, second) = run(&config, &cut, true, usize::MAX);
    assert_eq!(resumed.weights, outcome.weights);
    assert_ne!(stopped.weights, outcome.weights);
    assert!(names(&second).contains(&"resumed"));
    let steps = |events: &[Event]| -> Vec<(usize, f32)> {
        let of = |e: &Event| match e {
            Event::Step(s) => Some((s.step, s.loss)),
            _ => None,
        };
        events.iter().filter_map(of).collect()
    };
    assert_eq!([steps(&first), steps(&second)].concat(), steps(&events));
    // The epoch that was cut has the mean loss of its second part; all else is as it was.
    let [cut, whole] = [&cut, &whole].map(|folder| {
        let (mut records, mut table) = (records(folder), table(folder));
        let of_cut = |r: &&mut Value| r["kind"] == "epoch" && r["epoch"] == 2;
        let lost = records.iter_mut().find(of_cut).unwrap()["loss"].take();
        (records, std::mem::take(&mut table[2][2]), table, lost)
    });
    assert_eq!(cut.0, whole.0);
    assert_eq!(cut.2, whole.2);
    assert_ne!(cut.3, whole.3, "the control: a loss that differs is seen");
    assert_eq!((cut.1, whole.1), (cut.3.to_string(), whole.3.to_string()));
}

#[test]
fn a_run_stops_between_two_epochs_only_when_the_first_is_measured() {
    let dir = tempfile::tempdir().unwrap();
    let (config, mut ended) = (config(&["run.epochs=2", "data.shapes_test=0"]), Vec::new());
    for steps in 1..=8 {
        let folder = dir.path().join(steps.to_string());
        let (outcome, events) = run(&config, &folder, false, steps);
        let at = events.iter().find_map(|e| match e {
            Event::Stopped { at, .. } => Some((at.epoch, at.batch)),
            _ => None,
        });
        assert_eq!(at.is_none(), outcome.finished);
        let epochs = events
            .iter()
            .filter(|e| matches!(e, Event::Epoch(_)))
            .count();
        assert_eq!(
            epochs,
            at.map_or(2, |at| at.0),
            "{steps}: an epoch that counts is recorded"
        );
        assert!(
            at.is_none_or(|at| at.1 < 4),
            "{steps}: a position behind an epoch's last step"
        );
        ended.push(at);
        let (resumed, _) = run(&config, &folder, true, usize::MAX);
        assert!(resumed.finished);
        let records = records(&folder);
        let epochs = records.iter().filter(|r| r["kind"] == "epoch");
        let losses: Vec<bool> = epochs.map(|r| r["loss"].is_number()).collect();
        assert_eq!(losses, [true, true], "{steps}");
    }
    // A step is under way when the one that asks to stop has ended; at an epoch's end none is.
    assert_eq!(
        ended[..4],
        [Some((0, 2)), Some((0, 3)), Some((1, 0)), Some((1, 0))]
    );
    assert_eq!(ended[4..], [Some((1, 2)), Some((1, 3)), None, None]);
}

#[test]
fn what_is_told_is_what_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("run");
    let (_, events) = run(&config(&[]), &folder, false, usize::MAX);
    let records = records(&folder);
    let of = |kind: &str| {
        records
            .iter()
            .filter(|r| r["kind"] == kind)
            .collect::<Vec<_>>()
    };
    let (steps, epochs, evals) = (of("step"), of("epoch"), of("eval"));
    let (mut step, mut epoch, mut eval) = (0, 0, 0);
    let log = std::fs::read_to_string(folder.join("log.txt")).unwrap();
    for event in &events {
        match event {
            Event::Step(s) => {
                assert_eq!(steps[step]["loss"], s.loss);
                step += 1;
            }
            Event::Epoch(e) => {
                assert_eq!(epochs[epoch]["loss"], e.loss);
                assert_eq!(epochs[epoch]["sim_pos"][1], e.health.sim_pos[1]);
                epoch += 1;
            }
            Event::Evaluated(e) => {
                assert_eq!(evals[eval]["knn_top1"], e.knn_top1);
                assert_eq!(evals[eval]["protocol"], e.protocol.to_string());
                eval += 1;
            }
            Event::Saved { path, .. } => assert!(path.starts_with(folder.join("checkpoints"))),
            _ => {}
        }
        if let Some(line) = event.log_line() {
            assert!(log.contains(&line), "{line}");
        }
    }
    assert_eq!((step, epoch, eval), (12, 3, 3));
    assert_eq!((steps.len(), epochs.len(), evals.len()), (12, 3, 3));
}

#[test]
fn images_in_memory_are_trained_on_and_without_labels_nothing_is_evaluated() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&["run.epochs=1"]);
    let mut split = config.open_data(&|_, _| ()).unwrap();
    split.classes.clear();
    split.description = "given".into();
    let mut lines = Vec::new();
    let outcome = Trainer::new(config)
        .data(split)
        .device(Choice::Cpu)
        .out(dir.path().join("run"))
        .on_event(|e| lines.extend(e.line()))
        .run()
        .unwrap();
    assert!(outcome.finished && outcome.trained.is_none());
    assert_eq!(lines[0], "data: given");
    assert!(
        lines
            .iter()
            .any(|l| l.ends_with("kNN accuracy is not measured"))
    );
}
