//! Data that are not kept in memory: the same bits as data that are, whatever the threads; bad images and their
//! stand-ins; what is read ahead stays within its bounds.

use crate::common::images::{LAZY, config, folder, opened};
use amcl_wgpu::data::ahead::Ahead;
use amcl_wgpu::data::packed::{Images, pack};
use amcl_wgpu::device::Choice;
use amcl_wgpu::graph::StepScalars;
use amcl_wgpu::graph::host::HostExecutor;
use amcl_wgpu::graph::watched::{Act, Call, Calls, Watched, overlap};
use amcl_wgpu::run::event::Event;
use amcl_wgpu::train::Trainer;
use amcl_wgpu::train::session::Session;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Hash of the weights after two epochs, and the notes of the run.
fn trained(data: &Path, set: &[&str]) -> (Result<String, String>, Vec<String>) {
    let out = tempfile::tempdir().unwrap();
    let mut notes = Vec::new();
    let outcome = Trainer::new(config(data, set))
        .device(Choice::Cpu)
        .out(out.path().join("run"))
        .on_event(|e| {
            if let Event::Note(text) = e {
                notes.push(text.clone());
            }
        })
        .run();
    (outcome.map(|o| o.weights).map_err(|e| e.to_string()), notes)
}

#[test]
fn weights_are_the_same_to_the_bit_in_memory_and_not_and_for_any_number_of_threads() {
    let dir = tempfile::tempdir().unwrap();
    folder(dir.path());
    let resident = trained(dir.path(), &["data.resident_mib=0"]).0.unwrap();
    for threads in [1, 2, 7] {
        let threads = format!("data.threads={threads}");
        let lazy = trained(dir.path(), &[LAZY, &threads]).0.unwrap();
        assert_eq!(lazy, resident, "{threads}");
    }
    // Gradient caching sends each part of a batch twice.
    let parts = "optim.micro_batches=2";
    let resident = trained(dir.path(), &[parts]).0.unwrap();
    assert_eq!(trained(dir.path(), &[LAZY, parts]).0.unwrap(), resident);
    // The control: another order is other weights.
    let blocks = trained(dir.path(), &[LAZY, "run.seed=2"]).0.unwrap();
    assert_ne!(blocks, resident);
}

#[test]
fn what_is_opened_and_not_read_has_the_same_labels_names_and_pixels() {
    let dir = tempfile::tempdir().unwrap();
    folder(dir.path());
    let (a, b) = (opened(dir.path(), &[]), opened(dir.path(), &[LAZY]));
    assert!(a.train.resident() && !b.train.resident());
    for (a, b) in [(&a.train, &b.train), (&a.test, &b.test)] {
        assert_eq!(
            (a.len(), &a.labels, &a.names),
            (b.len(), &b.labels, &b.names)
        );
        let all: Vec<u32> = (0..a.len() as u32).rev().collect();
        assert_eq!(pack(a, &all).unwrap(), pack(b, &all).unwrap());
        assert_eq!(b.loaded().unwrap().images, a.images);
        let few = b.select(&[3, 1]);
        assert_eq!(few.image(0).unwrap(), a.image(3).unwrap());
        assert_eq!(few.labels, [a.labels[3], a.labels[1]]);
    }
    assert!(
        b.warnings.iter().any(|w| w.contains("data.memory_mib")),
        "{:?}",
        b.warnings
    );
}

#[test]
fn an_image_of_the_same_class_stands_in_for_a_bad_one_and_too_many_stop_the_run() {
    let dir = tempfile::tempdir().unwrap();
    folder(dir.path());
    let bad = dir.path().join("train/bee/05.png");
    let whole = std::fs::read(&bad).unwrap();
    std::fs::write(&bad, &whole[..whole.len() / 2]).unwrap();
    let s = opened(dir.path(), &[LAZY, "data.max_bad=0.5"]);
    let name = |i: usize| s.train.names[i].replace('\\', "/");
    let at = (0..s.train.len())
        .find(|i| name(*i) == "train/bee/05.png")
        .unwrap();
    assert_eq!(s.train.image(at).unwrap(), s.train.image(at + 1).unwrap());
    assert_ne!(
        s.train.image(at - 1).unwrap(),
        s.train.image(at + 1).unwrap()
    );
    let told = s.train.new_faults();
    assert!(told.len() == 1 && told[0].contains("05.png"), "{told:?}");
    assert!(s.train.new_faults().is_empty(), "it is told once");

    // The last of its class: the first of the class stands in, not the next class's.
    let last = dir.path().join("train/bee/11.png");
    std::fs::remove_file(&last).unwrap();
    let s = opened(dir.path(), &[LAZY, "data.max_bad=0.5"]);
    assert_eq!(
        s.train.len(),
        35,
        "a file that is gone before opening is no image of the set"
    );
    std::fs::write(&last, "no image").unwrap();
    let s = opened(dir.path(), &[LAZY, "data.max_bad=0.5"]);
    let at = (0..s.train.len())
        .find(|i| s.train.names[*i].contains("11.png") && s.train.labels[*i] == 1);
    let first = s.train.labels.iter().position(|l| *l == 1).unwrap();
    assert_eq!(
        s.train.image(at.unwrap()).unwrap(),
        s.train.image(first).unwrap()
    );

    let many = ["data.max_bad=0.5", "data.max_bad=0.01"];
    let [(fine, notes), (stopped, _)] = many.map(|m| trained(dir.path(), &[LAZY, m]));
    assert!(fine.is_ok(), "{fine:?}");
    assert!(notes.iter().any(|n| n.contains("05.png")), "{notes:?}");
    let e = stopped.unwrap_err();
    assert!(e.contains("data.max_bad") && e.contains("--decode"), "{e}");
}

#[test]
fn batches_come_in_their_order_within_the_bytes_that_are_given() {
    let dir = tempfile::tempdir().unwrap();
    folder(dir.path());
    // A batch of 8 images of 256 px takes 1.5 MiB: three fit 5 MiB.
    let s = opened(
        dir.path(),
        &[LAZY, "data.readahead_mib=5", "data.stored_size=256"],
    );
    let batches: Vec<Vec<u32>> = (0..40)
        .map(|b| (0..8).map(|i| (b * 5 + i * 3) % 36).collect())
        .collect();
    let mut ahead = Ahead::new(&s.train, batches.clone().into_iter(), 8, 1.0)
        .unwrap()
        .unwrap();
    for ids in &batches {
        ahead.next(ids, &mut |_| ()).unwrap();
        // The first half, as micro-batches ask for it, then all of it.
        let whole = pack(&s.train, ids).unwrap();
        let half = ahead.packed(&ids[..4]).unwrap();
        assert_eq!(half.words, whole.words[..whole.words.len() / 2]);
        assert_eq!(half.sides, [(256, 256); 4]);
        let images = ahead.packed(ids).unwrap();
        assert_eq!(images, whole);
        ahead.done(images);
        assert!(ahead.bytes() <= 5 << 20, "{}", ahead.bytes());
    }
    assert!(
        ahead.bytes() > 3 << 20,
        "more than one buffer is used: {}",
        ahead.bytes()
    );
    // What was not announced is read all the same.
    ahead.next(&[1, 2], &mut |_| ()).unwrap();
    assert_eq!(
        ahead.packed(&[1, 2]).unwrap(),
        pack(&s.train, &[1, 2]).unwrap()
    );
}

#[test]
fn two_buffers_are_enough_for_a_training_with_its_evaluation() {
    let dir = tempfile::tempdir().unwrap();
    folder(dir.path());
    // A batch of 8 images of 256 px takes 1.5 MiB: there are two buffers. Evaluation goes through three batches.
    let few = ["data.stored_size=256", LAZY, "data.readahead_mib=1"];
    let many = ["data.stored_size=256", LAZY];
    let [few, many] = [&few[..], &many].map(|set| trained(dir.path(), set).0.unwrap());
    assert_eq!(few, many);
}

#[test]
fn a_resumed_run_goes_on_with_the_batch_that_was_next() {
    let dir = tempfile::tempdir().unwrap();
    folder(dir.path());
    let whole = trained(dir.path(), &[LAZY]).0.unwrap();
    let out = tempfile::tempdir().unwrap();
    let run = out.path().join("run");
    let stop = AtomicBool::new(false);
    let first = Trainer::new(config(dir.path(), &[LAZY]))
        .device(Choice::Cpu)
        .out(&run)
        .stop(&stop)
        .on_event(|e| {
            // In the middle of the second epoch, of four steps.
            if matches!(e, Event::Step(s) if s.step == 5) {
                stop.store(true, Ordering::Relaxed);
            }
        })
        .run()
        .unwrap();
    assert!(!first.finished);
    let resumed = Trainer::new(config(dir.path(), &[LAZY]))
        .device(Choice::Cpu)
        .out(&run)
        .resume(true)
        .run()
        .unwrap();
    assert_eq!(resumed.weights, whole);
    assert_ne!(first.weights, whole, "it had stopped before the end");
}

/// The steps of which an act is noted.
fn steps(calls: &[Call], act: Act) -> Vec<u32> {
    let mut steps: Vec<u32> = calls
        .iter()
        .filter(|c| c.act == act)
        .map(|c| c.step)
        .collect();
    steps.dedup();
    steps
}

#[test]
fn a_batch_is_sent_while_the_one_before_trains_and_the_trace_shows_it() {
    let dir = tempfile::tempdir().unwrap();
    folder(dir.path());
    let out = dir.path().join("run");
    let mut noted = Vec::new();
    Trainer::new(config(dir.path(), &[LAZY]))
        .device(Choice::Cpu)
        .out(&out)
        .profile(true)
        .on_event(|e| {
            if let Event::Watched { calls, .. } = e {
                noted.push(calls.clone());
            }
        })
        .run()
        .unwrap();
    let [calls] = &noted[..] else {
        panic!("{} traces", noted.len());
    };
    let all: Vec<u32> = (0..steps(calls, Act::Submit).len() as u32).collect();
    assert!(all.len() > 2, "{all:?}");
    for act in [Act::Fetch, Act::Upload, Act::Submit, Act::Collect] {
        assert_eq!(steps(calls, act), all, "{act:?}");
    }
    assert!(overlap(calls), "{calls:?}");
    // The file shows the same.
    let text = std::fs::read_to_string(out.join("steps.json")).unwrap();
    let trace: serde_json::Value = serde_json::from_str(&text).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let named = |name: &str| events.iter().position(|e| e["name"] == name).unwrap();
    assert!(named("upload 1") < named("collect 0"));
    let end = |e: &serde_json::Value| e["ts"].as_f64().unwrap() + e["dur"].as_f64().unwrap();
    let (first, second) = (&events[named("in flight 0")], &events[named("in flight 1")]);
    assert!(second["ts"].as_f64().unwrap() < end(first));

    // The control: the same steps one by one.
    let c = config(dir.path(), &[]);
    let data = opened(dir.path(), &[]).train;
    let calls = Calls::default();
    let exec = Watched::new(Box::new(HostExecutor::<f32>::new()), calls.clone());
    let mut session = Session::new(&c, Box::new(exec), &data).unwrap();
    let ids: Vec<u32> = (0..c.optim.batch_size as u32).collect();
    for step in 0..3 {
        calls.prepare(step);
        let scalars = StepScalars {
            step,
            ..StepScalars::default()
        };
        let pending = session.start(&data, &ids, &scalars).unwrap();
        session.finish(&pending).unwrap();
    }
    let calls = calls.end();
    assert_eq!(steps(&calls, Act::Collect), [0, 1, 2]);
    assert!(!overlap(&calls), "{calls:?}");
    // And one whose images alone come too late.
    let mut late = noted[0].clone();
    let is = |act: Act, step: u32| move |c: &Call| (c.act, c.step) == (act, step);
    let results = late.iter().rposition(is(Act::Collect, 0)).unwrap();
    let sent = late.iter().rposition(is(Act::Upload, 1)).unwrap();
    let call = late.remove(sent);
    late.insert(results, call);
    assert!(!overlap(&late));
}
