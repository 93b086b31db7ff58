//! Several heads: what makes them differ, and what tells how alike they are.

use crate::common;

use amcl_wgpu::graph::host::HostExecutor;
use amcl_wgpu::graph::{Executor, Graph, HostData, TensorType};
use amcl_wgpu::nn::apart::Start;
use amcl_wgpu::nn::heads::Mlp;
use amcl_wgpu::nn::{Mode, Model, Net, Part};
use amcl_wgpu::prelude::*;
use amcl_wgpu::report;
use common::{normal, settings_of};

/// Likeness of heads in every epoch of a small run with these settings: of outputs, of gradients.
fn trained(set: &[&str]) -> (Vec<Vec<f64>>, Vec<Vec<f64>>, tempfile::TempDir) {
    let small = [
        "data.shapes_train=64",
        "data.shapes_test=20",
        "model.width=4",
        "model.stem_stride=2",
        "heads.count=3",
        "heads.hidden=8",
        "heads.out=8",
        "optim.batch_size=16",
        "run.epochs=2",
        "run.knn_every=0",
        "amcl.enabled=true",
    ];
    let config = Config::parse("", &settings_of(&[&small[..], set].concat())).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (mut outputs, mut gradients) = (Vec::new(), Vec::new());
    Trainer::new(config)
        .device(Choice::Cpu)
        .out(dir.path().join("run"))
        .on_event(|event| {
            if let Event::Epoch(e) = event {
                outputs.push(e.health.head_cka.clone());
                gradients.push(e.health.head_gradient_cka.clone());
            }
        })
        .run()
        .unwrap();
    (outputs, gradients, dir)
}

/// Copies of one head stay alike to the last bits that two orders of sums leave; heads with values of their own are not
/// alike. Every method with several heads tells it, in one program and with cached gradients, and the page shows it.
#[test]
fn copies_stay_alike_and_drawn_heads_are_told_apart() {
    for method in ["simclr", "moco", "simsiam", "barlow_twins"] {
        let name = format!("method.name={method}");
        let copies = trained(&[&name, "heads.start=copies"]);
        let drawn = trained(&[&name]);
        for (kind, copies, drawn) in [
            ("outputs", &copies.0, &drawn.0),
            ("gradients", &copies.1, &drawn.1),
        ] {
            assert_eq!(copies.len(), 2, "{method}: epochs");
            for (epoch, (copies, drawn)) in copies.iter().zip(drawn).enumerate() {
                assert_eq!(
                    (copies.len(), drawn.len()),
                    (3, 3),
                    "{method} {kind}: pairs of three heads"
                );
                // A predictor (SimSiam's) and a queue (MoCo's) have values of their own in each head.
                if ["simclr", "barlow_twins"].contains(&method) {
                    let least = copies.iter().copied().fold(f64::INFINITY, f64::min);
                    assert!(least > 0.999, "{method} {kind} {epoch}: {copies:?}");
                }
                let most = drawn.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                assert!(most < 0.999, "{method} {kind} {epoch}: {drawn:?}");
            }
        }
    }
    let (cached, gradients, dir) = trained(&["method.name=simclr", "optim.micro_batches=2"]);
    assert!(cached[1].len() == 3 && gradients[1].iter().all(|v| v.is_finite()));
    let run = dir.path().join("run");
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    assert!(text.contains("\"head_cka\":[") && text.contains("\"head_gradient_cka\":["));
    let page = report::write(&run, None).unwrap();
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("Likeness of every two heads"));
    // One head has nothing to be like.
    let (one, ..) = trained(&["method.name=simclr", "heads.count=1"]);
    assert!(one.len() == 2 && one.iter().all(Vec::is_empty));
}

/// Heads on subspaces of their own begin less alike than drawn ones: the gradient of neither has moved them far in two
/// epochs at a small rate.
#[test]
fn subspaces_and_unseen_channels_make_heads_less_alike() {
    let mean = |set: &[&str]| {
        let (outputs, ..) = trained(&[&["method.name=simclr", "optim.lr=0.0001"], set].concat());
        outputs[0].iter().sum::<f64>() / 3.0
    };
    let drawn = mean(&[]);
    let [subspaces, unseen] = [["heads.start=subspaces"], ["heads.unseen=0.6"]].map(|s| mean(&s));
    println!("drawn {drawn:.3}, subspaces {subspaces:.3}, unseen {unseen:.3}");
    assert!(subspaces < drawn && unseen < drawn);
}

/// What a head does not see changes nothing of it; the control is a head that sees it.
#[test]
fn a_head_is_blind_to_its_own_channels() {
    let (n, d) = (4, 20);
    let mlp = Mlp {
        unseen: 0.5,
        start: Start::Drawn,
        ..Mlp::plain(2, 6, 5)
    };
    let (mut g, mut model) = (Graph::new(), Model::default());
    let x = g.input("x", TensorType::f32([n, d]));
    let z = {
        let mut net = Net::new(&mut g, &mut model, Mode::Train);
        let layers = mlp.layers(&mut net, Part::Projector, d);
        layers.call(&mut net, x).unwrap()
    };
    let mask = model
        .params
        .iter()
        .find(|p| p.name == "head.0.seen")
        .unwrap();
    assert!(!mask.trained);
    let seen = mask.initial(&model.dims(mask), 1);
    let of_head = |h: usize, j: usize| seen[h * 6 * d + j] == 1.0;
    let only_second = (0..d).find(|j| !of_head(0, *j) && of_head(1, *j)).unwrap();
    let mut exec = HostExecutor::<f64>::new();
    exec.allocate_states(&model.states).unwrap();
    model.initialise(&mut exec, 1).unwrap();
    let program = exec.compile(&g, &[z]).unwrap();
    let mut run = |values: Vec<f64>| {
        exec.upload(program, x, &HostData::F64(values)).unwrap();
        exec.run(program, &amcl_wgpu::graph::StepScalars::default())
            .unwrap();
        exec.fetch(program, z).unwrap().to_f64()
    };
    let values = normal(n * d, 3);
    let before = run(values.clone());
    let mut changed = values;
    changed[only_second] += 1.0;
    let after = run(changed);
    assert_eq!(before[..n * 5], after[..n * 5]);
    assert_ne!(before[n * 5..], after[n * 5..]);
}
