//! What every method of `METHODS` and every encoder of `FAMILIES` must keep, so that a new line in a list is tested
//! without a new line here. Losses are tested in `formulas.rs`, presets in `presets.rs`.

use crate::common;

use amcl_wgpu::config::Config;
use amcl_wgpu::config::method::{declare, method};
use amcl_wgpu::config::presets::PRESETS;
use amcl_wgpu::export::onnx;
use amcl_wgpu::graph::host::HostExecutor;
use amcl_wgpu::graph::onnx::BATCH;
use amcl_wgpu::graph::{Executor, Graph, HostData, StepScalars, TensorId, TensorType};
use amcl_wgpu::methods::METHODS;
use amcl_wgpu::nn::backbones::FAMILIES;
use amcl_wgpu::nn::import::{Named, Weights};
use amcl_wgpu::nn::model::MOMENTUM_COPY;
use amcl_wgpu::nn::{Backbone, Mode, Model, Net, Part};
use common::{relative, settings_of};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Side of the encoders' images.
const SIDE: usize = 32;

fn config(set: &[&str]) -> Config {
    let small = [
        "model.width=4",
        "heads.hidden=8",
        "heads.out=6",
        "method.queue=16",
        "method.predictor_hidden=4",
        "optim.batch_size=8",
    ];
    let set = settings_of(&[&small[..], set].concat());
    Config::parse("", &set).unwrap_or_else(|e| panic!("{set:?}: {e}"))
}

#[test]
fn a_method_is_what_its_list_entry_says() {
    for spec in METHODS {
        let name = spec.name;
        assert!(
            !spec.title.is_empty() && !spec.help.contains('\n') && spec.help.len() > 10,
            "{name}: title or help line"
        );
        let preset = |text: &str| Config::parse(text, &[]).unwrap().method.name == name;
        assert!(
            PRESETS.iter().any(|(_, text)| preset(text)),
            "{name}: no preset"
        );

        let c = config(&[&format!("method.name={name}")]);
        let built = method(&c).unwrap();
        // What gradient caching relies on.
        assert_eq!(built.split().is_some(), spec.couples_batch, "{name}: split");
        // A decay needs its copy, and a copy its decay.
        let model = declare(&c).unwrap();
        let copied = model.states.whole(MOMENTUM_COPY).is_some();
        assert_eq!(built.momentum().is_some(), copied, "{name}: momentum copy");
        let params = model.params.iter();
        assert!(
            params.clone().any(|p| p.part == Part::Encoder),
            "{name}: no encoder"
        );
        let names: BTreeSet<&str> = params.clone().map(|p| p.name.as_str()).collect();
        assert_eq!(
            names.len(),
            params.len(),
            "{name}: two parameters of one name"
        );

        let adaptive = [
            format!("method.name={name}"),
            "amcl.enabled=true".into(),
            "heads.count=2".into(),
        ];
        let amcl = Config::parse("", &settings_of(&adaptive)).and_then(|c| declare(&c));
        match amcl {
            Ok(m) => assert!(
                spec.amcl && m.params.iter().any(|p| p.part == Part::Temperature),
                "{name}: AMCL without temperatures"
            ),
            Err(e) => assert!(
                !spec.amcl && e.to_string().contains("AMCL is not defined"),
                "{name}: {e}"
            ),
        }
    }
}

/// An encoder's graph of evaluation for `n` images.
struct Evaluation {
    g: Graph,
    m: Model,
    images: TensorId,
    features: TensorId,
}

fn evaluation(net: &dyn Backbone, n: usize) -> Evaluation {
    let (mut g, mut m) = (Graph::new(), Model::default());
    let images = g.input("images", TensorType::f32([n, SIDE, SIDE, 3]));
    let mut c = Net::new(&mut g, &mut m, Mode::Eval);
    let features = net.layers(&mut c).call(&mut c, images).unwrap().pooled;
    Evaluation {
        g,
        m,
        images,
        features,
    }
}

/// Features of images, as one batch.
fn features(net: &dyn Backbone, images: &[f64]) -> Vec<f64> {
    let e = evaluation(net, images.len() / (SIDE * SIDE * 3));
    let mut exec = HostExecutor::<f64>::new();
    exec.allocate_states(&e.m.states).unwrap();
    let program = exec.compile(&e.g, &[e.features]).unwrap();
    e.m.initialise(&mut exec, 1).unwrap();
    let images = HostData::F64(images.to_vec());
    exec.upload(program, e.images, &images).unwrap();
    exec.run(program, &StepScalars::default()).unwrap();
    exec.fetch(program, e.features).unwrap().to_f64()
}

fn encoders() -> impl Iterator<Item = (&'static str, Arc<dyn Backbone>)> {
    let of = |name: &&'static str| {
        let set = [
            format!("model.encoder={name}"),
            format!("model.image_size={SIDE}"),
        ];
        let set: Vec<&str> = set.iter().map(String::as_str).collect();
        (*name, config(&set).backbone().unwrap())
    };
    FAMILIES.iter().flat_map(move |f| f.names.iter().map(of))
}

#[test]
fn an_encoder_says_its_width_depth_and_names() {
    for (name, net) in encoders() {
        let e = evaluation(net.as_ref(), 2);
        assert_eq!(e.g.dims(e.features), [2, net.width()], "{name}");
        let variables: Vec<_> = e.m.variables().collect();
        let files: BTreeSet<&str> = variables.iter().map(|v| v.file_name.as_str()).collect();
        assert_eq!(
            files.len(),
            variables.len(),
            "{name}: two of one name in files"
        );
        assert!(
            variables
                .iter()
                .all(|v| v.part == Part::Encoder && v.name == v.file_name),
            "{name}: a variable that is not the encoder's"
        );
        // Every layer has a parameter, from the stem on.
        let layers: BTreeSet<usize> = e.m.params.iter().map(|p| p.layer).collect();
        assert!(layers.into_iter().eq(0..net.depth()), "{name}: layers");
        let card = net.card();
        assert!(card.network.is_object(), "{name}: {}", card.network);
        let first = format!("{}.weight", card.first_conv);
        assert!(files.contains(first.as_str()), "{name}: no {first}");
        assert!(
            !files
                .iter()
                .any(|f| f.starts_with(&format!("{}.", card.classifier))),
            "{name}: {} is the classifier",
            card.classifier
        );
    }
}

/// In evaluation, no image sees another one; the control is another image.
#[test]
fn a_feature_depends_on_its_image_alone() {
    let one = |seed| common::normal(SIDE * SIDE * 3, seed);
    let both = [one(1), one(2)].concat();
    for (name, net) in encoders() {
        let together = features(net.as_ref(), &both);
        let alone = features(net.as_ref(), &one(2));
        let (first, second) = together.split_at(net.width());
        // Sums in another order, in f64.
        assert!(relative(second, &alone) < 1e-10, "{name}");
        assert!(
            relative(first, &alone) > 1e-3,
            "{name}: all features are alike"
        );
    }
}

/// Every op of an encoder has a form in ONNX, and every weight stands in the file.
#[test]
fn an_encoder_becomes_onnx() {
    for (name, net) in encoders() {
        let e = evaluation(net.as_ref(), BATCH);
        let weights: Named =
            e.m.variables()
                .map(|v| {
                    let dims = e.m.dims(v);
                    let weights = Weights {
                        shape: v.layout.file_shape(&dims),
                        values: v.layout.to_file(&dims, v.initial(&dims, 1)),
                    };
                    (v.file_name.clone(), weights)
                })
                .collect();
        let ends = ((e.images, "images"), (e.features, "features"));
        let bytes =
            onnx::model(&e.g, ends.0, ends.1, &weights).unwrap_or_else(|e| panic!("{name}: {e}"));
        for of in weights.keys() {
            let found = bytes.windows(of.len()).any(|w| w == of.as_bytes());
            assert!(found, "{name}: {of}");
        }
        // The control: a file of weights that lacks one is refused.
        let mut fewer = weights;
        fewer.pop_first();
        assert!(onnx::model(&e.g, ends.0, ends.1, &fewer).is_err(), "{name}");
    }
}
