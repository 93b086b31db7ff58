//! Batch norm of all ranks' images (`model.sync_bn`): ranks make the step of one rank that has the whole batch.

use crate::ranks::{
    BATCH, BOUND, Changed, Fault, Seen, apart, config_with, data, f32s, f64s, on_engines,
};
use crate::ranks::{on_ranks, steps_to};

use amcl_wgpu::comm::{Call, Comm, World};
use amcl_wgpu::config::Config;
use amcl_wgpu::device::{Choice, Device, Options};
use amcl_wgpu::graph::Executor;
use amcl_wgpu::graph::gpu::GpuExecutor;
use assert_cmd::Command;

/// Running statistics are looked at too.
const GROUPS: &[&str] = &["bn_stats", "key_params", "queue"];

/// Methods whose encoders and heads have batch norm, of learned and of constant scale, of one tensor of views and of
/// two.
const METHODS: [(&str, bool); 7] = [
    ("simclr", false),
    ("simclr", true),
    ("barlow_twins", false),
    ("barlow_twins", true),
    ("vicreg", false),
    ("byol", false),
    ("mocov3", false),
];

fn config(method: &str, amcl: bool, ranks: usize, sync: bool, more: &[&str]) -> Config {
    let sync = format!("model.sync_bn={sync}");
    let norm = ["heads.norm=true", &sync];
    config_with(method, amcl, (ranks, 1), &[&norm[..], more].concat())
}

fn steps(c: &Config, world: &World, exec: Box<dyn Executor>) -> Seen {
    steps_to(c, world, exec, (&data(), GROUPS))
}

/// The step of one rank with the whole batch.
fn alone(method: &str, amcl: bool, more: &[&str], exec: Box<dyn Executor>) -> Seen {
    steps(
        &config(method, amcl, 1, false, more),
        &World::default(),
        exec,
    )
}

#[test]
fn ranks_make_the_step_of_the_whole_batch() {
    for (name, amcl) in METHODS {
        let whole = alone(name, amcl, &[], f64s());
        let kept = whole.tensors.iter().any(|(name, _)| name == "bn_stats");
        assert!(kept, "{name}: running statistics are looked at");
        for ranks in [2, 3, 4] {
            let c = config(name, amcl, ranks, true, &[]);
            let all = on_ranks(ranks, Fault::None, |w| steps(&c, w, f64s()));
            assert!(
                all.iter().all(|s| *s == all[0]),
                "{name}: ranks hold the same"
            );
            let (e, what) = apart(&all[0], &whole);
            assert!(
                e < BOUND,
                "{name}, AMCL {amcl}, {ranks} ranks: {what} {e:.1e}"
            );
        }
        // The control: each rank's images by themselves.
        let c = config(name, amcl, 2, false, &[]);
        let own = on_ranks(2, Fault::None, |w| steps(&c, w, f64s()));
        let (e, what) = apart(&own[0], &whole);
        assert!(e > 1e-3, "{name}, AMCL {amcl}: {what} {e:.1e}");
    }
}

/// On one rank nothing changes, to the bit.
#[test]
fn one_rank_has_the_whole_batch_anyway() {
    let c = config("simclr", false, 1, true, &[]);
    let synced = steps(&c, &World::default(), f64s());
    assert!(synced == alone("simclr", false, &[], f64s()));
}

/// A Vision Transformer has no batch norm; that of its heads is joined.
#[test]
fn heads_of_an_encoder_without_batch_norm_are_joined() {
    let vit = [
        "model.encoder=vit_tiny",
        "model.patch=8",
        "model.depth=1",
        "heads.layers=2",
    ];
    // The families' settings differ, and what `config_with` says of a ResNet is not a Vision Transformer's.
    let c = |ranks: usize, sync: bool| {
        let set = [
            format!("model.sync_bn={sync}"),
            format!("dist.ranks={ranks}"),
            format!("optim.batch_size={BATCH}"),
        ];
        let fixed = [
            "method.name=mocov3",
            "model.image_size=16",
            "heads.hidden=8",
            "heads.out=6",
            "method.predictor_hidden=8",
        ];
        let fixed = fixed.iter().chain(&vit).map(ToString::to_string);
        Config::parse("", &fixed.chain(set).collect::<Vec<_>>()).unwrap()
    };
    let whole = steps(&c(1, false), &World::default(), f64s());
    let run = |sync| on_ranks(2, Fault::None, |w| steps(&c(2, sync), w, f64s()));
    let (e, what) = apart(&run(true)[1], &whole);
    assert!(e < BOUND, "{what} {e:.1e}");
    let (e, what) = apart(&run(false)[1], &whole);
    assert!(e > 1e-3, "{what} {e:.1e}");
}

/// Exchanges of batch norm that go wrong in one direction.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wrong {
    /// A rank takes its own statistics for those of all.
    Statistics,
    /// The backward pass adds nothing of the others.
    Sums,
}

#[test]
fn exchanges_that_leave_the_others_out_are_seen() {
    for wrong in [Wrong::Statistics, Wrong::Sums] {
        for (name, amcl) in [("simclr", false), ("barlow_twins", true)] {
            let whole = alone(name, amcl, &[], f64s());
            let c = config(name, amcl, 2, true, &[]);
            // Nothing of the others comes: neither what they add to this rank's piece, nor the sums of theirs.
            let change = move |call: Call, own: usize, out: &[&[u8]], into: &mut [&mut [u8]]| {
                for (rank, to) in into.iter_mut().enumerate() {
                    match (wrong, call.what) {
                        (Wrong::Statistics, "moments") => to.copy_from_slice(out[own]),
                        (Wrong::Sums, "statistics") if rank != own => to.fill(0),
                        _ => (),
                    }
                }
            };
            let engine = |c| Box::new(Changed(c, change)) as Box<dyn Comm>;
            let all = on_engines(2, engine, |w| steps(&c, w, f64s()));
            let (e, what) = apart(&all[0], &whole);
            assert!(e > 1e-3, "{wrong:?} of {name}: {what} {e:.1e}");
        }
    }
}

fn gpu() -> Box<dyn Executor> {
    let name = std::env::var("AMCL_TEST_DEVICE").unwrap_or_else(|_| "llvmpipe".into());
    let choice: Choice = name.parse().unwrap();
    let device = Device::open(&choice, Options::default())
        .unwrap_or_else(|e| panic!("this test needs a Vulkan adapter: {e}"));
    Box::new(GpuExecutor::new(device))
}

/// By the kernels, between whose dispatches the exchanges stand; all that precedes and follows a norm, in f32.
#[test]
fn ranks_of_a_gpu_make_the_step_of_the_whole_batch() {
    for (name, amcl) in [("simclr", true), ("byol", false)] {
        let exact = alone(name, amcl, &[], f64s());
        let rounded = alone(name, amcl, &[], f32s());
        let c = config(name, amcl, 2, true, &[]);
        let all = on_ranks(2, Fault::None, |w| steps(&c, w, gpu()));
        assert!(all[0] == all[1], "{name}: ranks hold the same");
        // The kernels round as often as the f32 twins do, in another order: eight times, for the worst tensor of one
        // is not that of the other.
        let bound = (8.0 * apart(&rounded, &exact).0).max(1e-6);
        let (e, what) = apart(&all[0], &exact);
        assert!(e < bound, "{name}: {what} {e:.1e}, {bound:.1e}");
        let c = config(name, amcl, 2, false, &[]);
        let own = on_ranks(2, Fault::None, |w| steps(&c, w, gpu()));
        let (e, _) = apart(&own[0], &exact);
        assert!(e > 10.0 * bound, "{name}: the control, {e:.1e}");
    }
}

/// A CPU beside a GPU: exchanges of batch norm and of gradients, which go bucket by bucket in the same pass, come in
/// one order on both.
#[test]
fn unlike_devices_make_exchanges_in_one_order() {
    let small = ["dist.bucket_mib=0.002", "dist.owners=true"];
    let exact = alone("byol", false, &[], f64s());
    let rounded = alone("byol", false, &[], f32s());
    let c = config("byol", false, 2, true, &small);
    let all = on_ranks(2, Fault::None, |w| match w.is_first() {
        true => steps(&c, w, f32s()),
        false => steps(&c, w, gpu()),
    });
    let bound = (8.0 * apart(&rounded, &exact).0).max(1e-6);
    let (e, what) = apart(&all[0], &exact);
    assert!(e < bound, "{what} {e:.1e}, {bound:.1e}");
    // Each owns a piece of the update, and running statistics are averaged where devices may round them differently.
    let held = |s: &Seen| {
        let held = s.tensors.iter().filter(|t| !t.0.starts_with("gradient"));
        held.cloned().collect::<Vec<_>>()
    };
    assert!(held(&all[0]) == held(&all[1]), "ranks hold the same");
}

#[test]
fn what_cannot_be_joined_is_said() {
    let refused = |set: &[&str]| {
        let set: Vec<String> = set.iter().map(ToString::to_string).collect();
        let e = Config::parse("", &set).unwrap_err().to_string();
        assert!(!e.contains('\n'), "{e}");
        e
    };
    let e = refused(&["model.sync_bn=true", "optim.micro_batches=2"]);
    assert!(e.contains("set optim.micro_batches = 1"), "{e}");
    let moco = [
        "model.sync_bn=true",
        "method.name=moco",
        "method.bn_splits=4",
    ];
    let e = refused(&moco);
    assert!(e.contains("method.bn_splits = 4 cuts"), "{e}");
    // Where nothing is set MoCo's groups make room.
    assert!(
        Config::parse(
            "",
            &moco[..2]
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        )
        .is_ok()
    );
}

fn train(out: &std::path::Path, more: &[&str]) -> Command {
    let mut c = Command::new(assert_cmd::cargo::cargo_bin!("amcl-wgpu"));
    c.args(["train", "--no-report", "--devices", "cpu,cpu", "--out"])
        .arg(out);
    let set = [
        "data.shapes_train=64",
        "data.shapes_test=40",
        "heads.hidden=16",
        "heads.out=16",
        "optim.batch_size=32",
        "run.epochs=1",
    ];
    c.args(set.iter().flat_map(|s| ["--set", s])).args(more);
    c
}

/// On another number of ranks a run keeps its batch norm: the whole batch is one group on any.
#[test]
fn a_run_goes_on_on_another_number_of_ranks() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let sync = ["--set", "model.sync_bn=true", "--set", "model.width=4"];
    train(&out, &sync).assert().success();
    let file = out.join("config.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("epochs = 1\n", "epochs = 2\n")).unwrap();
    let again = Command::new(assert_cmd::cargo::cargo_bin!("amcl-wgpu"))
        .args(["train", "--device", "cpu", "--no-report", "--resume"])
        .arg(&out)
        .assert()
        .success();
    let said = String::from_utf8_lossy(&again.get_output().stdout).into_owned();
    let words = "goes on on 1: the same samples in the same order, and the same batch norm";
    assert!(said.contains(words) && said.contains("epoch 2/2"), "{said}");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("micro_batches = 1\n"), "{text}");
}

/// The first lines recommend it where a rank's images are few and the method suffers; a model without batch norm is
/// refused.
#[test]
fn the_program_tells_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let said = |name: &str, more: &[&str]| {
        let out = dir.path().join(name);
        let made = train(&out, more).assert();
        let made = made.get_output();
        let text = [&made.stdout[..], &made.stderr].concat();
        (
            made.status.success(),
            String::from_utf8_lossy(&text).into_owned(),
        )
    };
    let advice = "batch norm takes 16 images at a time, which are few for";
    let small = ["--set", "model.width=4"];
    let (done, text) = said("plain", &small);
    assert!(done && text.contains(&format!("{advice} SimCLR")), "{text}");
    let sync = ["--set", "model.sync_bn=true"];
    let (done, text) = said("synced", &[small, sync].concat());
    assert!(done && !text.contains(advice), "{text}");
    let (done, text) = said("simsiam", &[&small[..], &["--method", "simsiam"]].concat());
    assert!(done && !text.contains(advice), "{text}");
    let vit = [
        "--set",
        "model.encoder=vit_tiny",
        "--set",
        "heads.norm=false",
    ];
    let (done, text) = said("vit", &[&vit[..], &sync].concat());
    assert!(
        !done && text.contains("neither vit_tiny nor its heads have batch norm"),
        "{text}"
    );
    assert!(!dir.path().join("vit").exists());
}
