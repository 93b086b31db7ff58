//! Files of other implementations (tests/golden, made by the scripts there from PyTorch) beside this one's numbers: all
//! kinds, on all executors; and that a mistake in any of them is noticed.

use amcl_wgpu::device::Choice;
use amcl_wgpu::fixture::{Fixture, Values};
use amcl_wgpu::verify::{Computer, Subject, Verified};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

/// Kinds that differ in what the verb does, a file of each.
const FILES: &[&str] = &[
    "nt_xent_b8",
    "amcl_moco_topk_c2",
    "mocov3_b9",
    "amcl_mocov3_max_c2",
    "amcl_mocov3_softmax_c3",
    "masked/mae_p8_normpix",
    "masked/can_code",
    "masked/can_clean_normpix",
    "masked/can_amcl_max_c2",
    "vit/attention",
    "vit/gelu",
    "vit/layer_norm",
    "vit/masking",
    "vit/pos_embed",
    "vit/vit_d40_learned_ld_io",
    "optim/optimizer",
    "optim/lr_table_12",
    "data/knn_200",
    "data/aug_32",
    "data/aug_96",
    "data/bicubic",
    "network/net_r18w8_io",
];

fn open(name: &str) -> Subject {
    Subject::open(&golden(&format!("{name}.safetensors"))).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn lavapipe() -> Computer {
    let name = std::env::var("AMCL_TEST_DEVICE").unwrap_or_else(|_| "llvmpipe".into());
    let choice: Choice = name.parse().unwrap();
    Computer::open(&choice, |_| ())
        .unwrap_or_else(|e| panic!("this test needs a Vulkan adapter: {e}"))
}

/// Every file passes; the largest share of its bound that each took is printed.
fn all_pass(computer: &Computer) {
    for name in FILES {
        let verified = open(name).verify(computer);
        let verified = verified.unwrap_or_else(|e| panic!("{name}: {e}"));
        let share = |c: &amcl_wgpu::verify::Compared| {
            if c.error == 0.0 {
                0.0
            } else {
                c.error / c.bound
            }
        };
        let worst = verified
            .compared
            .iter()
            .max_by(|a, b| share(a).total_cmp(&share(b)));
        let worst = worst.unwrap();
        println!(
            "{name}: {} quantities, nearest {}: {}",
            verified.compared.len(),
            worst.name,
            worst.words()
        );
        let failed: Vec<String> = failures(&verified);
        assert!(failed.is_empty(), "{name}: {failed:?}");
    }
}

fn failures(verified: &Verified) -> Vec<String> {
    let failed = verified.compared.iter().filter(|c| !c.passed());
    failed
        .map(|c| format!("{}: {}", c.name, c.words()))
        .collect()
}

#[test]
fn all_kinds_in_f64() {
    all_pass(&Computer::Reference);
}

#[test]
fn all_kinds_on_the_cpu() {
    all_pass(&Computer::Cpu);
}

#[test]
fn all_kinds_on_lavapipe() {
    all_pass(&lavapipe());
}

/// Moves one number of a tensor: a real one by a hundredth of the tensor's norm, an integer by one.
fn spoil(fixture: &mut Fixture, name: &str, at: usize) {
    match &mut fixture.tensors.get_mut(name).unwrap().values {
        Values::Real(values) => {
            let norm = values.iter().map(|v| v * v).sum::<f64>().sqrt();
            values[at] += 1e-2 * norm.max(1e-3);
        }
        Values::Integer(values) => values[at] += 1,
        Values::Unread => panic!("{name} is not read"),
    }
}

/// The file among a subject's in which a compared quantity stands, the tensor's name there, and which of its numbers.
fn place<'a>(subject: &'a mut Subject, quantity: &str) -> Option<(&'a mut Fixture, String, usize)> {
    if let Some((list, at)) = quantity.strip_suffix(']').and_then(|q| q.split_once('[')) {
        let (file, name, _) = place(subject, list)?;
        return Some((file, name, at.parse().unwrap()));
    }
    let Some(parts) = subject.parts.as_mut() else {
        // A quantity of some of a tensor's numbers says which after the name.
        let name = quantity.split(' ').next().unwrap();
        let known = subject.fixture.tensors.contains_key(name);
        // GELU far from zero: the last numbers.
        let at = if quantity.contains(">=") {
            subject.fixture.tensors["x"].shape[0] - 1
        } else {
            0
        };
        return known.then(|| (&mut subject.fixture, name.to_string(), at));
    };
    let (file, name) = match quantity.split_once(": ") {
        Some(("grads", name)) => (&mut parts.grads, name),
        Some(("after", name)) => (&mut parts.after, name),
        _ => (&mut parts.io, quantity),
    };
    file.tensors
        .contains_key(name)
        .then(|| (file, name.to_string(), 0))
}

/// Results that are spoilt, each by itself: all of most files; some of a network's, of which a run takes longer.
fn results_to_spoil(name: &str, verified: &Verified) -> Vec<String> {
    let mut subject = open(name);
    let stored = verified
        .compared
        .iter()
        .filter(|c| place(&mut subject, &c.name).is_some());
    let all: Vec<String> = stored.map(|c| c.name.clone()).collect();
    let whole_network = subject.parts.is_some() || name.starts_with("masked");
    let every = if whole_network {
        all.len().div_ceil(6)
    } else {
        1
    };
    all.into_iter().step_by(every).collect()
}

/// One number of one stored result that is off by a hundredth of the tensor's norm fails this result and no other.
#[test]
fn one_wrong_number_is_noticed() {
    for name in FILES {
        let computer = Computer::Reference;
        let right = open(name).verify(&computer).unwrap();
        let results = results_to_spoil(name, &right);
        assert!(
            !results.is_empty(),
            "{name}: nothing that is stored was compared"
        );
        for result in results {
            let mut subject = open(name);
            let (fixture, tensor, at) = place(&mut subject, &result).unwrap();
            spoil(fixture, &tensor, at);
            let failed = subject.verify(&computer).unwrap();
            let failed: Vec<&str> = failed
                .compared
                .iter()
                .filter(|c| !c.passed())
                .map(|c| c.name.as_str())
                .collect();
            assert_eq!(failed, [result.as_str()], "{name}");
        }
    }
}

/// The same in f32, of a result of every file.
#[test]
fn one_wrong_number_is_noticed_in_f32() {
    for name in FILES {
        let right = open(name).verify(&Computer::Cpu).unwrap();
        let mut subject = open(name);
        let result = right.compared.iter().find_map(|c| {
            let (fixture, tensor, at) = place(&mut subject, &c.name)?;
            spoil(fixture, &tensor, at);
            Some(&c.name)
        });
        // Rates by layer are the host's in any case.
        let failed = subject.verify(&Computer::Cpu).unwrap();
        let failed: Vec<&String> = failed
            .compared
            .iter()
            .filter(|c| !c.passed())
            .map(|c| &c.name)
            .collect();
        assert_eq!(failed, [result.unwrap()], "{name}");
    }
}

/// In f32 the bounds behind a network's first update may widen, where the f64 reference is as sensitive itself: what is
/// wrong fails all the same.
#[test]
fn a_wrong_step_is_noticed_in_f32() {
    let failed = |fault: fn(&mut amcl_wgpu::verify::Parts)| {
        let mut subject = open("vit/vit_d40_learned_ld_io");
        fault(subject.parts.as_mut().unwrap());
        let verified = subject.verify(&Computer::Cpu).unwrap();
        let widened = verified
            .notes
            .iter()
            .any(|n| n.starts_with("bounds behind"));
        (widened, failures(&verified).len())
    };
    assert_eq!(failed(|_| ()), (false, 0));
    let (widened, count) = failed(|p| spoil(&mut p.after, "blocks.0.mlp.fc1.weight", 0));
    assert!(widened && count == 1, "{count}");
    let (widened, count) = failed(|p| p.io.meta["config"]["lr"] = 2.1e-3.into());
    assert!(widened && count > 20, "{count}");
}

/// Another setting than the maker's fails: file, place in `meta`, value.
#[test]
fn another_setting_is_noticed() {
    for (name, pointer, value) in [
        ("nt_xent_b8", "/config/tau", "0.51"),
        ("amcl_moco_topk_c2", "/config/kappa", "9"),
        ("mocov3_b9", "/config/tau", "0.21"),
        ("amcl_mocov3_max_c2", "/config/include_positive", "false"),
        ("amcl_mocov3_softmax_c3", "/config/scale", "0.99"),
        ("masked/mae_p8_normpix", "/config/norm_pix", "false"),
        ("masked/mae_p8_normpix", "/config/dec_heads", "2"),
        ("masked/can_code", "/config/target", "\"clean\""),
        ("masked/can_code", "/config/tau", "0.101"),
        ("masked/can_clean_normpix", "/config/pool", "\"mean_all\""),
        ("masked/can_clean_normpix", "/config/w_noise", "0.301"),
        ("masked/can_amcl_max_c2", "/config/negatives", "\"softmax\""),
        ("masked/can_amcl_max_c2", "/config/beta", "0.011"),
        ("vit/attention", "/config/cases/0/scale", "0.26"),
        ("vit/layer_norm", "/config/cases/3/eps", "1e-6"),
        ("vit/masking", "/config/cases/3/ratio", "0.55"),
        ("vit/pos_embed", "/config/cases/1/first", "\"column\""),
        ("vit/vit_d40_learned_ld_io", "/config/no_decay", "\"ndim\""),
        ("vit/vit_d40_learned_ld_io", "/config/lr", "2.01e-3"),
        ("vit/vit_d40_learned_ld_io", "/config/layer_decay", "0.751"),
        ("vit/vit_d40_learned_ld_io", "/config/heads", "5"),
        ("optim/optimizer", "/config/adamw/betas/1", "0.951"),
        ("optim/optimizer", "/config/lars/trust", "1.01e-3"),
        ("optim/lr_table_12", "/config/layer_decay", "0.651"),
        ("optim/lr_table_12", "/config/lgp_rates/1", "1.51e-5"),
        ("data/knn_200", "/config/t", "0.101"),
        ("data/aug_32", "/cases/0/steps/0/left", "6"),
        ("data/aug_32", "/config/normalize_mean/0", "0.5"),
        ("data/aug_96", "/cases/0/steps/0/left", "21"),
        (
            "data/aug_96",
            "/cases/4",
            "{\"key\": \"out_004\", \"image\": 0, \"steps\": []}",
        ),
        ("data/aug_96", "/cases/5/steps/0/factor", "0.084"),
        (
            "data/bicubic",
            "/cases/3/steps/0/interpolation",
            "\"bilinear\"",
        ),
        ("network/net_r18w8_io", "/config/momentum", "0.89"),
    ] {
        let mut subject = open(name);
        let file = match &mut subject.parts {
            Some(parts) => &mut parts.io,
            None => &mut subject.fixture,
        };
        let there = file.meta.pointer_mut(pointer);
        *there.unwrap_or_else(|| panic!("{name} has no {pointer}")) =
            serde_json::from_str(value).unwrap();
        let verified = subject.verify(&Computer::Reference).unwrap();
        assert!(
            !failures(&verified).is_empty(),
            "{name}: {pointer} = {value}"
        );
    }
}

/// The key third of a bias of queries, keys and values is left out, which is said; the other thirds are not.
#[test]
fn the_key_third_is_left_out() {
    let with = |at: usize| {
        let mut subject = open("vit/vit_d40_learned_ld_io");
        for part in [
            |p: &mut amcl_wgpu::verify::Parts| &mut p.grads,
            |p| &mut p.after,
        ] as [fn(&mut _) -> &mut Fixture; 2]
        {
            let file = part(subject.parts.as_mut().unwrap());
            let Values::Real(v) = &mut file
                .tensors
                .get_mut("blocks.1.attn.qkv.bias")
                .unwrap()
                .values
            else {
                panic!("real")
            };
            v[at] += 1.0;
        }
        let verified = subject.verify(&Computer::Reference).unwrap();
        let said = verified
            .notes
            .iter()
            .any(|n| n.contains("the key third [D:2D] of every attn.qkv.bias"));
        assert!(said, "{:?}", verified.notes);
        failures(&verified).len()
    };
    // D = 40.
    assert_eq!([39, 40, 79, 80].map(with), [2, 0, 0, 2]);
}

/// What is no such file is one line that names the fault.
#[test]
fn faults_of_files_are_told_in_a_line() {
    type Fault = fn(&mut Subject);
    let cases: [(&str, Fault, &str); 12] = [
        (
            "nt_xent_b8",
            |s| s.fixture.kind = "nt_xnet".into(),
            "no kind `nt_xnet`; there are nt_xent, moco",
        ),
        (
            "nt_xent_b8",
            |s| s.fixture.meta["config"]["tua"] = 1.into(),
            "config.tua is no setting of kind nt_xent",
        ),
        (
            "nt_xent_b8",
            |s| drop(s.fixture.tensors.remove("loss")),
            "needs a tensor `loss`",
        ),
        (
            "vit/attention",
            |s| drop(s.fixture.tensors.remove("1.dout")),
            "needs a tensor `1.dout`",
        ),
        (
            "vit/attention",
            |s| s.fixture.meta["config"]["cases"][0]["dw"] = 1.into(),
            "unknown field `dw`",
        ),
        (
            "vit/layer_norm",
            |s| s.fixture.meta["config"]["cases"][1]["D"] = 7.into(),
            "`1.x` has shape [5, 768], expected [5, 7]",
        ),
        (
            "vit/gelu",
            |s| s.fixture.tensors.get_mut("y").unwrap().values = Values::Unread,
            "`y` is F32",
        ),
        (
            "vit/masking",
            |s| s.fixture.meta["config"]["cases"][0]["ratio"] = 1.into(),
            "0 of 196 patches cannot stay",
        ),
        (
            "optim/optimizer",
            |s| s.fixture.meta["config"]["steps"] = 5.into(),
            "expected [5, ",
        ),
        (
            "data/knn_200",
            |s| s.fixture.meta["config"]["classes"] = 3.into(),
            "there are 3 classes",
        ),
        (
            "data/aug_32",
            |s| s.fixture.meta["cases"][0]["steps"][0]["top"] = 40.into(),
            "reaches beyond the image",
        ),
        (
            "vit/vit_d40_learned_ld_io",
            |s| s.parts.as_mut().unwrap().io.meta["config"]["patch"] = 5.into(),
            "does not divide",
        ),
    ];
    for (name, fault, words) in cases {
        let mut subject = open(name);
        fault(&mut subject);
        let e = subject
            .verify(&Computer::Reference)
            .unwrap_err()
            .to_string();
        assert!(e.contains(words) && !e.contains('\n'), "{name}: {e}");
    }
}

fn verb(args: &[&str]) -> (bool, String, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_amcl-wgpu"))
        .args(args)
        .output()
        .unwrap();
    let text = |b: Vec<u8>| String::from_utf8(b).unwrap();
    (out.status.success(), text(out.stdout), text(out.stderr))
}

/// Any of a network's four files names the others; one that is missing, or is of another network, is an error.
#[test]
fn a_network_stands_in_four_files() {
    let folder = tempfile::tempdir().unwrap();
    let files = ["init", "io", "grads", "after"].map(|part| {
        let name = format!("vit_d40_learned_ld_{part}.safetensors");
        let to = folder.path().join(&name);
        std::fs::copy(golden("vit").join(&name), &to).unwrap();
        to.display().to_string()
    });
    let [init, io, grads, after] = &files;
    let (good, out, _) = verb(&["verify", after, io]);
    assert!(good, "{out}");
    assert!(
        out.contains("grads: blocks.1.attn.qkv.bias") && out.contains("after: norm.bias"),
        "{out}"
    );
    assert!(
        out.contains(&format!("vit_network_io, verified with {after}")),
        "{out}"
    );
    std::fs::remove_file(grads).unwrap();
    let (good, out, err) = verb(&["verify", init, "--json"]);
    assert!(
        !good && err.lines().count() == 1 && err.contains(grads.as_str()),
        "{err}"
    );
    let object: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert!(
        object["passed"] == false && object["error"].as_str().unwrap().contains(grads.as_str())
    );
    std::fs::copy(golden("network/net_r18w8_grads.safetensors"), grads).unwrap();
    let (good, _, err) = verb(&["verify", io]);
    assert!(!good && err.contains("of kind network_grads"), "{err}");
}

/// The verdict and the exit code; `loss --verify` is the older name, in f64 alone as it was.
#[test]
fn the_verdict() {
    let right = golden("nt_xent_b8.safetensors").display().to_string();
    let none = golden("make_golden.py").display().to_string();
    let (good, out, _) = verb(&["verify", &right]);
    assert!(
        good && out.contains(" f64 reference: loss 1.496406900e0"),
        "{out}"
    );
    assert!(
        out.ends_with("verified: 1 file, 6 quantities, all within their bounds\n"),
        "{out}"
    );
    let (good, out, err) = verb(&["verify", &none, &right]);
    assert!(!good && err.contains("no safetensors file"), "{err}");
    assert!(
        out.ends_with("FAILED: 1 of 2 files; 0 of 6 quantities are past their bounds\n"),
        "{out}"
    );
    let (good, out, _) = verb(&[
        "loss",
        "--verify",
        &right,
        &golden("vit/gelu.safetensors").display().to_string(),
    ]);
    assert!(
        good && out.contains("verified: 2 files, 6 quantities"),
        "{out}"
    );
    let executors: BTreeSet<&str> = out
        .lines()
        .filter(|l| l.starts_with(" f") || l.contains("CPU"))
        .collect();
    assert!(
        executors.iter().all(|e| e.starts_with(" f64 reference")),
        "{executors:?}"
    );
    let (good, _, err) = verb(&[
        "verify",
        "--precision",
        "f64",
        "--device",
        "llvmpipe",
        &right,
    ]);
    assert!(!good && err.contains("f64 runs on the CPU"), "{err}");
}
