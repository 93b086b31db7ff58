//! MoCo v3 and layer-grafted pre-training on a Vision Transformer, as runs: what stays frozen, when the momentum copy
//! follows, the pull to the start, resumption, and what is refused. Their graphs: `momentum.rs`; losses: `formulas.rs`.

use crate::common;

use amcl_wgpu::config::{Config, method};
use amcl_wgpu::device::Choice;
use amcl_wgpu::nn::model::{MOMENTUM_COPY, PARAMS, START};
use amcl_wgpu::run::event::{Alarm, Event};
use amcl_wgpu::run::weights::of_run;
use amcl_wgpu::train::session::Session;
use amcl_wgpu::train::{Outcome, TrainError, Trainer};
use common::{B, Run, SIDE, settings_of, view};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Two epochs of two steps with a transformer of two blocks.
const SMALL: [&str; 21] = [
    "data.shapes_train=32",
    "data.shapes_test=20",
    "model.encoder=vit_tiny",
    "model.dim=12",
    "model.depth=2",
    "model.heads=3",
    "model.patch=8",
    "model.image_size=16",
    "heads.hidden=8",
    "heads.out=6",
    "method.predictor_hidden=5",
    "amcl.phi_hidden=5",
    "optim.name=adamw",
    "optim.lr=0.001",
    "optim.batch_size=16",
    "run.epochs=2",
    "run.knn_every=0",
    "schedule.warmup_epochs=0",
    "optim.clip=0",
    "run.seed=5",
    "optim.layer_rates=[0.1, 1]",
];

fn config(set: &[&str]) -> Config {
    Config::parse("", &settings_of(&[&SMALL[..], set].concat())).unwrap()
}

/// The parts of a run that tests look at.
#[derive(Default)]
struct Seen {
    /// Groups of states at the end, by name.
    groups: BTreeMap<String, Vec<f32>>,
    /// Parameters at the end, by name.
    params: BTreeMap<String, Vec<f32>>,
}

fn look(s: &mut Session) -> Seen {
    let mut seen = Seen::default();
    for group in [PARAMS, MOMENTUM_COPY, START] {
        if let Some(id) = s.model.states.whole(group) {
            let values = s.exec.read_state(&s.model.states, id).unwrap().to_f32();
            seen.groups.insert(group.name(), values);
        }
    }
    let ids: Vec<_> = s
        .model
        .params
        .iter()
        .map(|p| (p.name.clone(), p.id))
        .collect();
    for (name, id) in ids {
        let values = s.exec.read_state(&s.model.states, id).unwrap().to_f32();
        seen.params.insert(name, values);
    }
    seen
}

/// How a run is started.
#[derive(Clone, Copy, Default)]
struct How<'a> {
    init: Option<&'a Path>,
    resume: bool,
    stop_after: Option<usize>,
}

fn train(c: &Config, out: &Path, how: How<'_>) -> Result<(Outcome, Seen), TrainError> {
    let (stop, mut seen) = (AtomicBool::new(false), Seen::default());
    let outcome = Trainer::new(c.clone())
        .device(Choice::Cpu)
        .out(out)
        .init(how.init.map(Into::into))
        .resume(how.resume)
        .stop(&stop)
        .on_event(|event| {
            if matches!(event, Event::Step(s) if Some(s.step) == how.stop_after) {
                stop.store(true, Ordering::Relaxed);
            }
        })
        .at_end(|s, _| seen = look(s))
        .run()?;
    Ok((outcome, seen))
}

/// A run whose encoder others start from.
fn start(dir: &Path) -> std::path::PathBuf {
    let out = dir.join("start");
    train(
        &config(&["run.epochs=1", "run.seed=9"]),
        &out,
        How::default(),
    )
    .unwrap();
    out
}

/// Stopped within an epoch and resumed, a run of each method ends with the bits of an uninterrupted one; so do the
/// starting weights. The control is another seed.
#[test]
fn runs_resume_bit_for_bit() {
    let dir = tempfile::tempdir().unwrap();
    let from = start(dir.path());
    let amcl = ["amcl.enabled=true", "heads.count=2"];
    let pull = ["method.name=lgp", "method.pull=1e-3"];
    let cases = [
        ("simclr", vec![], false),
        ("simclr-mean", vec!["model.pool=mean"], false),
        ("mocov3", vec!["method.name=mocov3"], false),
        (
            "mocov3-amcl",
            [&["method.name=mocov3"][..], &amcl].concat(),
            false,
        ),
        (
            "mocov3-cached",
            vec!["method.name=mocov3", "optim.micro_batches=2"],
            false,
        ),
        ("lgp", pull.to_vec(), true),
        ("lgp-amcl", [&pull[..], &amcl].concat(), true),
    ];
    for (name, set, init) in cases {
        let c = config(&set);
        let init = init.then_some(from.as_path());
        let [whole, cut, other] = ["whole", "cut", "other"].map(|w| dir.path().join(name).join(w));
        let how = How {
            init,
            ..How::default()
        };
        let (all, seen) = train(&c, &whole, how).unwrap();
        let stopped = How {
            stop_after: Some(1),
            ..how
        };
        assert!(!train(&c, &cut, stopped).unwrap().0.finished, "{name}");
        // A resumed run has its own weights, and needs no others.
        let again = How {
            resume: true,
            ..How::default()
        };
        let (resumed, seen_again) = train(&c, &cut, again).unwrap();
        assert_eq!(resumed.weights, all.weights, "{name}");
        assert_eq!(seen.groups, seen_again.groups, "{name}");
        assert_eq!(seen.groups.contains_key(&START.name()), init.is_some());
        let mut set = set.clone();
        set.push("run.seed=6");
        let (control, _) = train(&config(&set), &other, how).unwrap();
        assert_ne!(control.weights, all.weights, "{name}");
    }
}

/// The random projection of patches and the table of positions stay; all else moves. Frozen patches are a safeguard,
/// which a setting undoes.
#[test]
fn what_is_frozen_does_not_move() {
    let dir = tempfile::tempdir().unwrap();
    let from = start(dir.path());
    for (name, own, thawed) in [
        ("mocov3", "method.name=mocov3", false),
        ("lgp", "method.name=lgp", false),
        ("simclr", "method.name=simclr", false),
        ("thawed", "model.frozen_patches=false", true),
    ] {
        let init = (name == "lgp").then_some(from.as_path());
        let how = How {
            init,
            ..How::default()
        };
        // A run of no epochs has the weights that it starts from.
        let untrained = config(&[own, "run.epochs=0"]);
        let (_, before) = train(&untrained, &dir.path().join(format!("{name}-0")), how).unwrap();
        let (_, after) = train(&config(&[own]), &dir.path().join(name), how).unwrap();
        for (param, values) in &before.params {
            let projection = param.starts_with("patch_embed");
            let still = param == "pos_embed" || projection && !thawed;
            assert_eq!(*values == after.params[param], still, "{name}: {param}");
        }
    }
}

/// Both encoders of a grafted run start from the given one; heads and predictor are drawn.
#[test]
fn both_encoders_start_from_the_weights() {
    let dir = tempfile::tempdir().unwrap();
    let from = start(dir.path());
    let (_, source) = train(
        &config(&["run.epochs=1", "run.seed=9"]),
        &dir.path().join("again"),
        How::default(),
    )
    .unwrap();
    let c = config(&["method.name=lgp", "run.epochs=0", "method.pull=1e-3"]);
    let how = How {
        init: Some(&from),
        ..How::default()
    };
    let (_, seen) = train(&c, &dir.path().join("run"), how).unwrap();
    assert_eq!(
        seen.groups[&PARAMS.name()],
        seen.groups[&MOMENTUM_COPY.name()]
    );
    for (name, values) in &seen.params {
        let encoder = !name.starts_with("head") && !name.starts_with("predictor");
        let same = source.params.get(name) == Some(values);
        // Scales and shifts of the heads' batch norm are drawn by nobody.
        let constant = values.iter().all(|v| *v == values[0]);
        assert!(same == encoder || constant, "{name}");
    }
}

/// The copy that the last step leaves has the decay of the step that would follow: at the end of the cosine 0, so that
/// it equals the parameters. BYOL's has that of the step itself: the control.
#[test]
fn the_copy_follows_with_the_decay_of_the_step_that_reads_it() {
    let dir = tempfile::tempdir().unwrap();
    for (name, level) in [("mocov3", true), ("byol", false)] {
        let method = format!("method.name={name}");
        let c = config(&[&method, "method.momentum=1", "method.final_momentum=0"]);
        let (_, seen) = train(&c, &dir.path().join(name), How::default()).unwrap();
        let [own, copy] = [PARAMS, MOMENTUM_COPY].map(|g| &seen.groups[&g.name()]);
        assert_eq!(own == copy, level, "{name}");
    }
}

/// The pull adds pull sign(w - start) to the gradient of the embeddings and the first half of the blocks, nothing
/// elsewhere, and nothing at the start. f64: one sum of two terms, 1e-12 of the larger.
#[test]
fn the_pull_is_towards_the_start() {
    const PULL: f64 = 1e-2;
    let size = format!("model.image_size={SIDE}");
    let of = |pull: f64| {
        let pull = format!("method.pull={pull}");
        let c = config(&["method.name=lgp", "model.patch=4", &size, &pull]);
        let method = method::method(&c).unwrap();
        Run::of(method.as_ref(), c.backbone().unwrap(), B)
    };
    let (mut pulled, mut free) = (of(PULL), of(0.0));
    let views = [view(B, 5, 0), view(B, 5, 1)];
    let views = [&views[0][..], &views[1]];
    assert_eq!(pulled.on(views).grads, free.on(views).grads, "at the start");
    let start = pulled.named(PARAMS);
    for run in [&mut pulled, &mut free] {
        run.shake(PARAMS, 9);
    }
    let now = pulled.named(PARAMS);
    let (with, without) = (pulled.on(views), free.on(views));
    let trained = pulled.b.m.params.iter().zip(&pulled.b.grads);
    let trained = trained.filter(|(_, g)| g.is_some()).map(|(p, _)| p);
    let (mut distance, mut count) = (0.0, 0);
    for ((p, with), without) in trained.zip(&with.grads).zip(&without.grads) {
        let near = p.name == "cls_token" || p.name.starts_with("blocks.0.");
        count += usize::from(near);
        for (i, (a, b)) in with.iter().zip(without).enumerate() {
            let moved = now[&p.name][i] - start[&p.name][i];
            let sign = if moved == 0.0 { 0.0 } else { moved.signum() };
            let want = if near { PULL * sign } else { 0.0 };
            let off = (a - b - want).abs();
            assert!(off < 1e-12 * b.abs().max(1.0), "{}: {a} {b} {want}", p.name);
            distance += if near { moved.abs() } else { 0.0 };
        }
    }
    assert_eq!(count, 13, "the class token and twelve tensors of a block");
    let off = with.loss - without.loss - PULL * distance;
    assert!(off.abs() < 1e-12 * with.loss.abs().max(1.0), "{off}");
    // Half of a tensor lies above its start: a pull the other way would be seen.
    assert!(distance > 1.0, "{distance}");
}

/// The share of anchors whose positive is their nearest candidate is recorded for every method that compares images.
/// Without augmentation both views are one, so that all anchors of the max form are dead: it is told in the third
/// epoch. The control is the softmax form, where nothing dies.
#[test]
fn dead_anchors_are_recorded_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let from = start(dir.path());
    let trained = |name: &str, set: &[&str]| {
        let all = [&["amcl.enabled=true", "heads.count=2"][..], set].concat();
        let c = config(&all);
        let (out, mut told) = (dir.path().join(name), Vec::new());
        let lgp = c.method.name == "lgp";
        let trainer = Trainer::new(c).device(Choice::Cpu).out(&out);
        let outcome = trainer
            .init(lgp.then(|| from.clone()))
            .on_event(|e| {
                if let Event::Epoch(epoch) = e {
                    let dead = epoch
                        .alarms
                        .iter()
                        .any(|a| matches!(a, Alarm::AnchorsDead { .. }));
                    told.push((epoch.health.positive_nearest, dead));
                }
            })
            .run();
        assert!(outcome.unwrap().finished, "{name}");
        let records = std::fs::read_to_string(out.join("metrics.jsonl")).unwrap();
        (told, records)
    };
    for method in ["moco", "mocov3", "lgp", "can"] {
        let own = format!("method.name={method}");
        let (told, records) = trained(method, &[&own, "run.epochs=1", "method.bn_splits=2"]);
        let share = told[0].0.unwrap();
        assert!(
            (0.0..=1.0).contains(&share) && !told[0].1,
            "{method}: {told:?}"
        );
        assert!(
            records.contains("\"positive_nearest\":"),
            "{method}: {records}"
        );
    }
    let alike = ["augment.families=\"\"", "run.epochs=4"];
    let max = [&alike[..], &["amcl.negatives=max"]].concat();
    let (told, _) = trained("max", &max);
    let all = Some(1.0);
    assert_eq!(told, [(all, false), (all, false), (all, true), (all, true)]);
    let (told, _) = trained("softmax", &alike);
    assert_eq!(told, [(all, false); 4]);
}

/// A file of a run's encoder without one of its tensors.
fn lacking_one_tensor(run: &Path, dir: &Path) -> std::path::PathBuf {
    let mut named = of_run(run, |_| ()).unwrap().weights;
    named.remove("blocks.1.mlp.fc2.bias").unwrap();
    let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = named
        .into_iter()
        .map(|(name, w)| {
            let bytes = w.values.iter().flat_map(|v| v.to_le_bytes()).collect();
            (name, w.shape, bytes)
        })
        .collect();
    let views = bytes.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap();
        (name, view)
    });
    let path = dir.join("lacking.safetensors");
    std::fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
    path
}

/// What cannot be is one line that says what would do, and leaves no folder.
#[test]
fn what_cannot_be_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let from = start(dir.path());
    let empty = dir.path().join("no-weights");
    std::fs::create_dir_all(&empty).unwrap();
    std::fs::copy(from.join("config.toml"), empty.join("config.toml")).unwrap();
    let lacking = lacking_one_tensor(&from, dir.path());
    let (whole, nothing) = (Some(from.as_path()), None);
    for (set, init, want) in [
        (
            &["run.epochs=1"][..],
            nothing,
            "lgp starts from a masked autoencoder's encoder",
        ),
        (
            &[],
            Some(empty.as_path()),
            "no usable checkpoint: there is none",
        ),
        (
            &[],
            Some(lacking.as_path()),
            "1 tensors of a masked autoencoder's encoder are missing there",
        ),
        (
            &["model.depth=4"],
            whole,
            "depth 2, and this model has depth 4",
        ),
        (&["model.dim=24"], whole, "and this model has"),
    ] {
        let out = dir.path().join("run");
        let set = [&["method.name=lgp"], set].concat();
        let how = How {
            init,
            ..How::default()
        };
        let e = train(&config(&set), &out, how).err().unwrap().to_string();
        assert!(e.contains(want) && !e.contains('\n'), "{set:?}: {e}");
        assert!(!out.exists(), "{set:?}");
    }
    for (set, want) in [
        ("model.encoder=tiny", "must be a Vision Transformer"),
        ("model.positions=learned", "set model.positions to sincos"),
        ("method.pull=2", "method.pull is 2; it must be from 0 to 1"),
        ("method.pul=2", "did you mean method.pull?"),
        (
            "optim.layer_rates=[0.1, 0.1, 1]",
            "3 factors, which cut the encoder's 2 blocks into no equal runs",
        ),
        (
            "method.predictor_hiden=2",
            "did you mean method.predictor_hidden?",
        ),
    ] {
        let mut all: Vec<String> = SMALL.iter().map(ToString::to_string).collect();
        if set.starts_with("model.encoder") {
            all.retain(|s| !s.starts_with("model.") && !s.starts_with("optim.layer_rates"));
        }
        all.extend(["method.name=lgp".into(), set.into()]);
        let e = Config::parse("", &all).unwrap_err().to_string();
        assert!(e.contains(want) && !e.contains('\n'), "{set}: {e}");
    }
}
