//! Weights of others for Vision Transformers: names, forms and sizes of timm's, MAE's, MoCo v3's and DINO's files,
//! which the tests make up.

use amcl_wgpu::graph::Graph;
use amcl_wgpu::graph::host::HostExecutor;
use amcl_wgpu::graph::{Executor, TensorType};
use amcl_wgpu::nn::backbones::family;
use amcl_wgpu::nn::heads::Mlp;
use amcl_wgpu::nn::import::{self, Named, Report, Source, Weights};
use amcl_wgpu::nn::positions;
use amcl_wgpu::nn::{Backbone, Init, Layout, Mode, Model, Net, Part};
use amcl_wgpu::reference::philox::{Purpose, Stream};
use assert_cmd::Command;
use safetensors::tensor::{Dtype, TensorView};
use std::path::Path;
use std::process::Output;
use std::sync::Arc;

/// Tokens of 8 numbers, 2 blocks of 2 heads, 16 patches of 4 px.
const SMALL: &str = "dim = 8\ndepth = 2\nheads = 2\npatch = 4\npositions = \"learned\"";
const SIDE: usize = 16;

fn vit(set: &str, side: usize) -> Arc<dyn Backbone> {
    let family = family("vit_tiny").unwrap();
    let given = (family.complete)(&set.parse().unwrap()).unwrap();
    (family.build)("vit_tiny", &given, side).unwrap()
}

/// A model of an encoder with a projector and a decoder's embedding.
fn model(encoder: &dyn Backbone) -> Model {
    let (mut g, mut m) = (Graph::new(), Model::default());
    let mut net = Net::new(&mut g, &mut m, Mode::Train);
    encoder.layers(&mut net);
    Mlp::plain(1, 8, 4).layers(&mut net, Part::Projector, 8);
    net.part(Part::Decoder, |net| {
        net.param("mask_token", &[1, 1, 6], Init::Normal(0.02), Layout::Plain);
    });
    m
}

fn random(shape: &[usize], seed: u64) -> Weights {
    let mut s = Stream::new(seed, 0, 0, Purpose::Init);
    let count: usize = shape.iter().product();
    Weights {
        shape: shape.to_vec(),
        values: (0..count).map(|_| s.normal()).collect(),
    }
}

/// A file of the encoder's tensors behind a prefix.
fn file(encoder: &dyn Backbone, prefix: &str) -> Named {
    let m = model(encoder);
    let shapes = import::named(&m, |_, range| vec![0.0; range.len()]);
    let own = m.variables().filter(|v| v.part == Part::Encoder);
    own.enumerate()
        .map(|(i, v)| {
            let w = random(&shapes[&v.name].shape, i as u64);
            (format!("{prefix}{}", v.file_name), w)
        })
        .collect()
}

/// What a start from a file gives: the report, all of the model's weights, what was noted.
struct Started {
    report: Report,
    weights: Named,
    notes: Vec<String>,
}

fn start(encoder: &dyn Backbone, source: Source) -> Result<Started, String> {
    let (m, mut notes) = (model(encoder), Vec::new());
    let tensors = import::fitting((&m, encoder), source, &mut |n| notes.push(n))?;
    let mut exec = HostExecutor::<f32>::new();
    exec.allocate_states(&m.states).unwrap();
    m.initialise(&mut exec, 1).unwrap();
    Ok(Started {
        report: import::import(&m, &mut exec, &tensors).unwrap(),
        weights: import::export(&m, &mut exec).unwrap(),
        notes,
    })
}

fn from(encoder: &dyn Backbone, tensors: Named) -> Result<Started, String> {
    let network = None;
    let mut started = start(encoder, Source { tensors, network })?;
    // Every file without a description has this note.
    let heads = started.notes.pop().unwrap();
    assert!(
        heads.starts_with("heads: ") && heads.contains("model.heads 2 are assumed"),
        "{heads}"
    );
    Ok(started)
}

/// Everything of the encoder is the file's.
fn all_taken(s: &Started, file: &Named, prefix: &str, encoder: &dyn Backbone) {
    for v in model(encoder)
        .variables()
        .filter(|v| v.part == Part::Encoder)
    {
        let theirs = &file[&format!("{prefix}{}", v.file_name)];
        assert_eq!(s.weights[&v.name], *theirs, "{}", v.name);
    }
}

#[test]
fn files_of_timm_dino_and_moco_v3_are_taken_whole() {
    let net = vit(SMALL, SIDE);
    let net = net.as_ref();
    for (prefix, further) in [
        ("", vec![("head.bias", [10, 1]), ("head.weight", [10, 8])]),
        ("backbone.", vec![("head.mlp.0.weight", [8, 8])]),
        ("module.backbone.", vec![]),
        ("teacher.backbone.", vec![]),
        // The projector has a shape that fits, and is the other method's all the same.
        (
            "module.base_encoder.",
            vec![("module.base_encoder.head.0.weight", [8, 8])],
        ),
    ] {
        let mut f = file(net, prefix);
        let extra: Vec<String> = further.iter().map(|(n, _)| (*n).to_string()).collect();
        f.extend(
            further
                .into_iter()
                .map(|(n, s)| (n.to_string(), random(&s, 77))),
        );
        let s = from(net, f.clone()).unwrap();
        all_taken(&s, &f, prefix, net);
        assert_eq!(s.report.loaded.len(), f.len() - extra.len(), "{prefix}");
        assert_eq!(s.report.unused, extra, "{prefix}");
        assert!(
            s.report.mismatched.is_empty() && s.notes.is_empty(),
            "{:?}",
            s.notes
        );
        // Files have the patches' projection as [d,3,p,p].
        let name = format!("{prefix}patch_embed.proj.weight");
        assert_eq!(f[&name].shape, [8, 3, 4, 4]);
    }
}

#[test]
fn of_moco_v3s_two_encoders_the_trained_one_is_taken() {
    let net = vit(SMALL, SIDE);
    let net = net.as_ref();
    let (base, average) = ("module.base_encoder.", "module.momentum_encoder.");
    let mut f = file(net, base);
    f.extend(file(net, average).into_iter().map(|(n, w)| {
        let values = w.values.iter().map(|v| v + 1.0).collect();
        (n, Weights { values, ..w })
    }));
    f.insert("module.predictor.0.weight".into(), random(&[8, 4], 3));
    let s = from(net, f.clone()).unwrap();
    all_taken(&s, &f, base, net);
    let left = s.report.unused.iter().filter(|n| n.starts_with(average));
    assert_eq!(
        (left.count(), s.report.unused.len()),
        (f.len() / 2, f.len() / 2 + 1)
    );
    // The control: of other pairs it is not known which one is meant.
    let mut f = file(net, "student.");
    f.extend(file(net, "teacher."));
    let e = from(net, f).err().unwrap();
    assert!(e.contains("more than one such network"), "{e}");
}

#[test]
fn a_file_of_mae_gives_the_decoder_its_weights_too() {
    let net = vit(&SMALL.replace("learned", "sincos"), SIDE);
    let net = net.as_ref();
    let mut f = file(net, "");
    let table = positions::sin_cos(4, 8, 1);
    f.get_mut("pos_embed").unwrap().values = table;
    let mask = random(&[1, 1, 6], 5);
    f.insert("mask_token".into(), mask.clone());
    f.insert("decoder_blocks.0.norm1.weight".into(), random(&[6], 6));
    let s = from(net, f.clone()).unwrap();
    all_taken(&s, &f, "", net);
    assert_eq!(s.weights["decoder.mask_token"], mask);
    assert_eq!(s.report.unused, ["decoder_blocks.0.norm1.weight"]);
    assert!(s.notes.is_empty(), "{:?}", s.notes);
    // A table with rows first (MoCo v3's) is taken as it is, and that is said.
    let d = 8;
    let turned: Vec<f32> = (0..17)
        .flat_map(|row| {
            let at = row * d;
            let row = &positions::sin_cos(4, d, 1)[at..at + d];
            [&row[d / 2..], &row[..d / 2]].concat()
        })
        .collect();
    f.get_mut("pos_embed").unwrap().values = turned.clone();
    let s = from(net, f.clone()).unwrap();
    assert_eq!(s.weights["pos_embed"].values, turned);
    assert!(
        s.notes.len() == 1 && s.notes[0].contains("taken as it is"),
        "{:?}",
        s.notes
    );
}

#[test]
fn positions_of_another_grid_are_resized_and_it_is_said() {
    let large = vit(SMALL, 28);
    let f = file(large.as_ref(), "model.");
    let net = vit(SMALL, SIDE);
    let s = from(net.as_ref(), f.clone()).unwrap();
    assert!(s.report.mismatched.is_empty());
    let want = positions::resized(&f["model.pos_embed"].values, (7, 4), 8, 1);
    assert_eq!(s.weights["pos_embed"].values, want);
    assert_eq!(s.weights["cls_token"], f["model.cls_token"]);
    assert_eq!(
        s.notes,
        ["pos_embed: the file's 7x7 positions were resized to 4x4 (bicubic, as MAE does it)"]
    );
    // Without a row for the class token (timm's `no_embed_class`).
    let mut less = f.clone();
    let w = less.get_mut("model.pos_embed").unwrap();
    w.values.drain(..8);
    w.shape = vec![1, 49, 8];
    let s = from(net.as_ref(), less).unwrap();
    assert_eq!(s.weights["pos_embed"].values[..8], [0.0; 8]);
    assert_eq!(s.weights["pos_embed"].values[8..], want[8..]);
    assert_eq!(s.notes.len(), 2, "{:?}", s.notes);
    // The control: what is no square of patches stays what it was, and is reported.
    let mut odd = f;
    let w = odd.get_mut("model.pos_embed").unwrap();
    w.values.truncate(44 * 8);
    w.shape = vec![1, 44, 8];
    let s = from(net.as_ref(), odd).unwrap();
    assert_eq!(s.report.mismatched.len(), 1);
    assert!(s.notes.is_empty(), "{:?}", s.notes);
}

#[test]
fn a_norm_of_the_mean_starts_the_norm_of_tokens_and_it_is_said() {
    let net = vit(&format!("{SMALL}\npool = \"mean\""), SIDE);
    let mut f = file(net.as_ref(), "");
    let [w, b] = ["weight", "bias"].map(|leaf| f.remove(&format!("norm.{leaf}")).unwrap());
    f.insert("fc_norm.weight".into(), w.clone());
    f.insert("fc_norm.bias".into(), b);
    let s = from(net.as_ref(), f.clone()).unwrap();
    assert_eq!(s.weights["norm.weight"], w);
    assert!(s.report.unused.is_empty());
    assert!(
        s.notes.len() == 1 && s.notes[0].starts_with("fc_norm: "),
        "{:?}",
        s.notes
    );
    // The control: a file with both keeps its norm.
    let other = random(&[8], 99);
    f.insert("norm.weight".into(), other.clone());
    f.insert("norm.bias".into(), other.clone());
    let s = from(net.as_ref(), f).unwrap();
    assert_eq!(s.weights["norm.weight"], other);
    assert_eq!(s.report.unused.len(), 2);
}

#[test]
fn weights_of_another_size_or_kind_are_refused_and_both_named() {
    let net = vit(SMALL, SIDE);
    let refused =
        |set: &str, side: usize| from(net.as_ref(), file(vit(set, side).as_ref(), "")).err();
    for (set, side, want) in [
        (
            "dim = 12\ndepth = 3\nheads = 2\npatch = 4",
            16,
            "a Vision Transformer of dim 12 and depth 3, and this model has dim 8 and depth 2: set model.dim = 12 and \
             model.depth = 3, or take other weights",
        ),
        (
            "dim = 8\ndepth = 1\nheads = 2\npatch = 8",
            32,
            "of depth 1 and patch 8, and this model has depth 2 and patch 4",
        ),
        (
            "dim = 8\ndepth = 2\nheads = 2\nmlp_ratio = 2.5",
            16,
            "of hidden 20, and this model has hidden 32: set model.mlp_ratio = 2.5,",
        ),
    ] {
        let e = refused(set, side).unwrap();
        assert!(e.contains(want) && !e.contains('\n'), "{e}");
    }
    // The control: the same size.
    assert_eq!(refused(SMALL, SIDE), None);
    // The number of heads is in no tensor: what stands beside them tells.
    let of = |heads: usize| {
        let tensors = file(net.as_ref(), "");
        let network = vit(
            &SMALL.replace("heads = 2", &format!("heads = {heads}")),
            SIDE,
        );
        let network = Some(network.card().network);
        start(net.as_ref(), Source { tensors, network }).err()
    };
    let e = of(4).unwrap();
    assert!(e.contains("of heads 4, and this model has heads 2"), "{e}");
    assert_eq!(of(2), None);
    let tensors = file(net.as_ref(), "");
    let network = Some(net.card().network);
    let stated = start(net.as_ref(), Source { tensors, network }).unwrap();
    assert!(stated.notes.is_empty(), "{:?}", stated.notes);
    for foreign in [
        "blocks.1.ls1.gamma",
        "reg_token",
        "blocks.0.attn.q_norm.weight",
    ] {
        let mut f = file(net.as_ref(), "");
        f.insert(foreign.into(), random(&[8], 1));
        let e = from(net.as_ref(), f).err().unwrap();
        assert!(e.contains("another kind") && e.contains(foreign), "{e}");
    }
}

fn program(args: &[&str]) -> Output {
    let mut c = Command::new(assert_cmd::cargo::cargo_bin!("amcl-wgpu"));
    c.args(args).output().unwrap()
}

fn write(path: &Path, named: &Named) {
    let bytes =
        |w: &Weights| -> Vec<u8> { w.values.iter().flat_map(|v| v.to_le_bytes()).collect() };
    let all: Vec<(String, Vec<usize>, Vec<u8>)> = named
        .iter()
        .map(|(n, w)| (n.clone(), w.shape.clone(), bytes(w)))
        .collect();
    let views = all.iter().map(|(n, shape, b)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), b).unwrap();
        (n.as_str(), view)
    });
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

#[test]
fn a_page_of_a_resnet_has_no_attention() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let run = run.to_str().unwrap();
    let mut args = vec!["train", "--device", "cpu", "--epochs", "1", "--out", run];
    let sets = [
        "data.shapes_train=32",
        "data.shapes_test=20",
        "model.width=4",
        "heads.hidden=8",
        "heads.out=8",
        "optim.batch_size=16",
    ];
    sets.iter().for_each(|s| args.extend(["--set", s]));
    assert!(program(&args).status.success());
    let page = std::fs::read_to_string(Path::new(run).join("report.html")).unwrap();
    assert!(page.contains("id=\"neighbours\"") && !page.contains("id=\"attention\""));
}

/// By the program: one line tells what was taken and one what was resized; an export of the run starts another one;
/// weights that do not fit leave nothing behind.
#[test]
fn a_run_starts_from_a_file_and_its_export_starts_another() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_string();
    let weights = at("dino.safetensors");
    write(
        Path::new(&weights),
        &file(vit(SMALL, 28).as_ref(), "teacher.backbone."),
    );
    let train = |out: &str, init: &str, more: &[&str]| {
        let mut args = vec![
            "train",
            "--device",
            "cpu",
            "--no-report",
            "--epochs",
            "1",
            "--out",
            out,
            "--init",
            init,
        ];
        let sets = [
            "data.shapes_train=32",
            "data.shapes_test=20",
            "model.encoder=\"vit_tiny\"",
            "model.dim=8",
            "model.depth=2",
            "model.heads=2",
            "model.positions=\"learned\"",
            "model.image_size=16",
            "heads.hidden=8",
            "heads.out=8",
            "optim.batch_size=16",
        ];
        sets.iter().for_each(|s| args.extend(["--set", s]));
        more.iter().for_each(|s| args.extend(["--set", s]));
        let o = program(&args);
        let said = String::from_utf8_lossy(&o.stderr).into_owned();
        (o.status.success(), said)
    };
    let run = at("run");
    let (ok, said) = train(&run, &weights, &[]);
    assert!(ok, "{said}");
    let log = std::fs::read_to_string(Path::new(&run).join("log.txt")).unwrap();
    let line = |begin: &str| log.lines().filter(|l| l.contains(begin)).count();
    assert_eq!(line("7x7 positions were resized to 4x4"), 1, "{log}");
    assert_eq!(line("30 tensors loaded"), 1, "{log}");
    assert!(
        program(&["export", &run, "-o", &at("exported")])
            .status
            .success()
    );
    // The page shows what the class token looks at; that of a network without one says nothing of it.
    let page = |run: &str| {
        assert!(
            program(&["report", run, "--device", "cpu"])
                .status
                .success()
        );
        std::fs::read_to_string(Path::new(run).join("report.html")).unwrap()
    };
    let shown = page(&run);
    assert!(shown.contains("id=\"attention\"") && shown.contains("href=\"#attention\""));
    assert!(shown.contains("heads 1 to 2. ") && shown.contains("there are 4x4 patches"));
    let (ok, said) = train(&at("again"), &at("exported"), &[]);
    assert!(ok, "{said}");
    let (ok, said) = train(&at("none"), &at("exported"), &["model.heads=4"]);
    assert!(!ok && said.trim_end().lines().count() == 1, "{said}");
    assert!(
        said.contains("of heads 2, and this model has heads 4"),
        "{said}"
    );
    let (ok, said) = train(&at("none"), &run, &["model.depth=1"]);
    assert!(
        !ok && said.contains("of depth 2, and this model has depth 1"),
        "{said}"
    );
    assert!(
        !Path::new(&at("none")).exists(),
        "a refused run leaves nothing"
    );
}

/// Shapes of the twins: a network of these settings takes images of the side.
#[test]
fn the_small_network_is_one() {
    let net = vit(SMALL, SIDE);
    let (mut g, mut m) = (Graph::new(), Model::default());
    let x = g.input("x", TensorType::f32([2, SIDE, SIDE, 3]));
    let mut c = Net::new(&mut g, &mut m, Mode::Eval);
    let f = net.layers(&mut c).call(&mut c, x).unwrap();
    assert_eq!(c.dims(f.pooled), [2, 8]);
}
