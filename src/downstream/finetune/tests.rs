use super::*;
use crate::data::{Split, shapes};
use crate::graph::host::HostExecutor;
use crate::nn::import::export;

fn config(set: &[&str]) -> Config {
    let set: Vec<String> = set.iter().map(ToString::to_string).collect();
    Config::parse("", &set).unwrap()
}

/// A network of 16 px for ten classes of shapes, which trains in seconds.
const VIT: [&str; 5] = [
    "model.encoder=vit_tiny",
    "model.dim=32",
    "model.depth=2",
    "model.heads=2",
    "model.patch=8",
];

fn plan<'a>(config: &'a Config, settings: &'a FinetuneSettings) -> Plan<'a> {
    Plan {
        config,
        settings,
        side: (32, 32),
        batch: 4,
        classes: 10,
    }
}

/// Weights of an encoder as it is drawn.
fn drawn(config: &Config) -> Named {
    let (mut g, mut model) = (Graph::new(), Model::default());
    let s = FinetuneSettings::default();
    plan(config, &s)
        .build(&mut g, &mut model, Mode::Eval)
        .unwrap();
    let mut exec = HostExecutor::<f32>::new();
    exec.allocate_states(&model.states).unwrap();
    model.initialise(&mut exec, 1).unwrap();
    let mut weights = export(&model, &mut exec).unwrap();
    weights.retain(|n, _| !n.starts_with("fc."));
    weights
}

fn run(config: &Config, split: &Split, s: &FinetuneSettings) -> Result<f64> {
    let ids: Vec<usize> = (0..split.train.len()).collect();
    let exec = &mut HostExecutor::<f32>::new();
    finetune(
        config,
        &drawn(config),
        s,
        (&split.train, &ids),
        &split.test,
        10,
        exec,
        &|_, _| (),
    )
}

/// A narrow network learns ten classes of shapes from random weights. The control: with a rate of zero it answers as
/// the zero classifier does.
#[test]
fn learns_from_labels() {
    let split = shapes::generate(3, 320, 200);
    let mut config = config(&["model.width=8", "model.stem_stride=2"]);
    let run = |config: &Config, lr| {
        let s = FinetuneSettings {
            epochs: 8,
            batch_size: 32,
            lr,
            ..FinetuneSettings::default()
        };
        run(config, &split, &s).unwrap()
    };
    let (learned, idle) = (run(&config, 0.05), run(&config, 1e-12));
    assert!(learned > idle + 10.0 && learned > 20.0, "{learned} {idle}");
    // The run's own augmentation and optimiser have no part in fine-tuning.
    config.augment.min_scale = 1.0;
    config.augment.hf_prob = 1.0;
    config.augment.solarization_prob = [1.0; 2];
    config.optim.clip = 1e-3;
    config.optim.name = "adamw".into();
    config.schedule.warmup_epochs = 5;
    assert_eq!(run(&config, 0.05), learned);
    // The control: the normalisation is the run's.
    config.augment.std = [1.0; 3];
    assert_ne!(run(&config, 0.05), learned);
}

/// A small Vision Transformer learns by MAE's recipe, all of it. The control: with a rate of zero it does not.
#[test]
fn a_vision_transformer_learns_by_the_recipe_of_mae() {
    let split = shapes::generate(3, 640, 200);
    let config = config(&VIT);
    let mae = FinetuneSettings::recipe("mae", &config).unwrap();
    let of = |set: &str| {
        let s = mae.with(&set.parse().unwrap()).unwrap();
        run(&config, &split, &s).unwrap()
    };
    let learned = of("epochs = 12\nbatch_size = 32\nlr = 3e-3");
    let idle = of("epochs = 1\nbatch_size = 32\nlr = 1e-12\nmin_lr = 0");
    assert!(learned > idle + 10.0 && learned > 20.0, "{learned} {idle}");
}

/// What each setting does is seen in what a step computes or sends.
#[test]
fn each_setting_has_its_place_in_the_step() {
    let config = config(&VIT);
    let built = |s: &FinetuneSettings| {
        let (mut g, mut model) = (Graph::new(), Model::default());
        let built = plan(&config, s)
            .build(&mut g, &mut model, Mode::Train)
            .unwrap();
        (built, model)
    };
    let plain = FinetuneSettings::default();
    let (b, model) = built(&plain);
    assert!(
        b.operations.is_none() && b.erasing.is_none() && b.mixing.is_none() && b.dropped.is_none()
    );
    // Positions that the run kept fixed are trained.
    assert!(model.params.iter().all(|p| p.trained));
    assert!(!model.params.iter().any(|p| p.name == "fc.norm.weight"));
    let mae = FinetuneSettings::recipe("mae", &config).unwrap();
    let (b, model) = built(&mae);
    assert!(
        b.operations.is_some() && b.erasing.is_some() && b.mixing.is_some() && b.dropped.is_some()
    );
    assert!(model.params.iter().any(|p| p.name == "fc.norm.weight"));
    // Two blocks: the first leaves nothing out, the last its branches with a probability of 0.4.
    let s = FinetuneSettings {
        drop_path: 0.4,
        ..plain
    };
    let ids: Vec<u32> = (0..4000).collect();
    let (built, _) = built(&s);
    let drawn = Drawn {
        plan: &plan(&config, &s),
        built: &built,
        policy: s.policy(&config),
    };
    let factors = drawn.branches(&ids, 3);
    assert_eq!(factors.len(), 4 * ids.len());
    let (first, last) = factors.split_at(2 * ids.len());
    assert!(first.iter().all(|f| *f == 1.0));
    let kept = (1.0 / 0.6f64) as f32;
    assert!(last.iter().all(|f| *f == 0.0 || (*f - kept).abs() < 1e-6));
    let dropped = last.iter().filter(|f| **f == 0.0).count();
    // 3200 of 8000, within four deviations (44).
    assert!((3024..3376).contains(&dropped), "{dropped}");
    // Each branch has draws of its own, and so has each epoch; a sample's do not depend on its batch.
    let (a, b) = last.split_at(ids.len());
    assert_ne!(a, b);
    assert_ne!(drawn.branches(&ids, 4), factors);
    assert_eq!(drawn.branches(&ids[7..8], 3)[3], b[7]);
}

#[test]
fn what_an_encoder_has_not_is_refused_in_words() {
    let config = config(&["model.width=8"]);
    let split = shapes::generate(3, 20, 10);
    for (set, want) in [
        (
            "drop_path = 0.1",
            "finetune.drop_path is for Vision Transformers; tiny has no branches",
        ),
        (
            "pool = \"mean\"",
            "finetune.pool is for Vision Transformers; tiny has no patches",
        ),
    ] {
        let s = FinetuneSettings::default()
            .with(&set.parse().unwrap())
            .unwrap();
        let e = run(&config, &split, &s).unwrap_err().to_string();
        assert!(e.contains(want), "{e}");
    }
}

/// -sum y log softmax(x) in plain numbers, for labels that are distributions.
#[test]
fn cross_entropy_of_soft_labels() {
    let (n, c) = (5, 4);
    let x: Vec<f64> = (0..n * c).map(|i| ((i * 7) % 11) as f64 - 4.0).collect();
    let y = mixing::soft_labels(&[0, 3, 1, 2, 2], c, 0.1, 0.7);
    let mut g = Graph::new();
    let [logits, labels] = ["x", "y"].map(|name| g.input(name, TensorType::f32([n, c])));
    let loss = cross_entropy(&mut g, logits, labels).unwrap();
    let mut exec = HostExecutor::<f64>::new();
    let program = exec.compile(&g, &[loss]).unwrap();
    exec.upload(program, logits, &HostData::F64(x.clone()))
        .unwrap();
    exec.upload(program, labels, &HostData::F32(y.clone()))
        .unwrap();
    exec.run(program, &StepScalars::default()).unwrap();
    let got = exec.fetch(program, loss).unwrap().to_f64()[0];
    let of = |smooth: &[f32]| -> f64 {
        let rows = x.chunks(c).zip(smooth.chunks(c)).map(|(x, y)| {
            let sum = x.iter().map(|v| v.exp()).sum::<f64>().ln();
            let each = x.iter().zip(y).map(|(x, y)| f64::from(*y) * (sum - x));
            each.sum::<f64>()
        });
        rows.sum::<f64>() / n as f64
    };
    // Labels are f32 numbers, whose sum is 1 but for their rounding.
    assert!((got - of(&y)).abs() < 1e-6, "{got}");
    let hard = mixing::soft_labels(&[0, 3, 1, 2, 2], c, 0.0, 1.0);
    assert!((got - of(&hard)).abs() > 1e-3, "the control");
}
