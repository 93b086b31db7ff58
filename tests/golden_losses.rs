//! Losses and gradients against PyTorch's (tests/golden, made by make_golden.py there), on all executors.

use amcl_wgpu::device::{Choice, Device, Options};
use amcl_wgpu::graph::Executor;
use amcl_wgpu::graph::gpu::GpuExecutor;
use amcl_wgpu::graph::host::HostExecutor;
use amcl_wgpu::methods::loss::Plain;
use amcl_wgpu::methods::loss::evaluate::{Array, Loss};
use amcl_wgpu::methods::loss::macl::Macl;
use amcl_wgpu::methods::loss_file::LossFile;
use amcl_wgpu::ops::standardize_columns::Deviation;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use std::collections::HashMap;

fn files() -> Vec<(String, LossFile)> {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut out = Vec::new();
    for e in std::fs::read_dir(dir).unwrap() {
        let path = e.unwrap().path();
        if path.extension().is_some_and(|x| x == "safetensors") {
            out.push((
                path.display().to_string(),
                LossFile::parse(&std::fs::read(&path).unwrap()).unwrap(),
            ));
        }
    }
    assert!(out.len() >= 20, "the fixtures are in the repository");
    out
}

fn run(exec: &mut dyn Executor, tighten: Option<(f64, f64)>) {
    for (name, file) in files() {
        let e = file
            .evaluate(exec)
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        for (what, error, bound) in file.compare(&e).unwrap() {
            let bound = tighten.map_or(bound, |t| if what == "loss" { t.0 } else { t.1 });
            println!("{name} {what}: {error:.1e} (bound {bound:.1e})");
            assert!(
                error <= bound,
                "{name} {what}: {error:.2e} over {bound:.2e}"
            );
        }
    }
}

/// The loss is stored in f64; the gradients as f32, whose rounding alone is a relative error of up to 6e-8.
#[test]
fn f64_twins() {
    run(&mut HostExecutor::<f64>::new(), Some((1e-10, 1e-7)));
}

#[test]
fn cpu_executor() {
    run(&mut HostExecutor::<f32>::new(), None);
}

#[test]
fn gpu() {
    let name = std::env::var("AMCL_TEST_DEVICE").unwrap_or_else(|_| "llvmpipe".into());
    let choice: Choice = name.parse().unwrap();
    let device = Device::open(&choice, Options::default())
        .unwrap_or_else(|e| panic!("this test needs a Vulkan adapter: {e}"));
    run(&mut GpuExecutor::new(device), None);
}

#[test]
fn a_wrong_gradient_is_noticed() {
    let (name, mut file) = files().remove(0);
    let stored = file
        .tensors
        .iter_mut()
        .find(|t| t.0.starts_with("grad."))
        .unwrap()
        .1;
    stored.values[0] += 1e-3 * stored.values.iter().map(|v| v * v).sum::<f64>().sqrt();
    let e = file.evaluate(&mut HostExecutor::<f32>::new()).unwrap();
    assert!(
        file.compare(&e).unwrap().iter().any(|c| c.1 > c.2),
        "{name}"
    );
}

/// A stored gradient of another shape than its input, empty ones among them, compares with nothing; so does a loss of
/// several values or of none.
#[test]
fn a_stored_result_of_another_shape_is_refused() {
    let mut exec = HostExecutor::<f64>::new();
    for (shape, values) in [
        (vec![0], 0),
        (vec![1, 3], 3),
        (vec![16, 8], 128),
        (vec![128], 128),
    ] {
        let bytes = std::fs::read("tests/golden/nt_xent_b8.safetensors").unwrap();
        let mut file = LossFile::parse(&bytes).unwrap();
        let e = file.evaluate(&mut exec).unwrap();
        assert!(file.compare(&e).is_ok() && file.not_stored(&e).is_empty());
        let array = Array {
            shape: shape.clone(),
            values: vec![0.0; values],
        };
        let stored = file.tensors.insert("grad.z1".into(), array.clone());
        let said = file.compare(&e).unwrap_err().to_string();
        assert!(
            said.contains(&format!("`grad.z1` has shape {shape:?}")) && said.contains("[8, 16]"),
            "{said}"
        );
        file.tensors.insert("grad.z1".into(), stored.unwrap());
        file.tensors.insert("loss".into(), array);
        let said = file.compare(&e).unwrap_err().to_string();
        assert!(said.contains("`loss` has shape"), "{said}");
        file.tensors.remove("grad.z1");
        assert_eq!(file.not_stored(&e), ["grad.z1"]);
    }
}

/// A file with this `meta`, of these tensors.
fn file(meta: &str, tensors: &[(&str, Dtype, &[usize], Vec<u8>)]) -> LossFile {
    let views = tensors.iter().map(|(name, dtype, shape, data)| {
        (
            name.to_string(),
            TensorView::new(*dtype, shape.to_vec(), data).unwrap(),
        )
    });
    let meta = HashMap::from([("meta".to_string(), meta.to_string())]);
    LossFile::parse(&safetensors::serialize(views, Some(meta)).unwrap()).unwrap()
}

/// Numbers stored in 16 bits are not compared, and that is said.
#[test]
fn a_stored_gradient_of_16_bits_is_refused() {
    let z: Vec<u8> = (0..12)
        .flat_map(|i| (i as f32).sin().to_le_bytes())
        .collect();
    let halves = vec![0u8; 24];
    let inputs = [
        ("z1", Dtype::F32, &[4, 3][..], z.clone()),
        (
            "z2",
            Dtype::F32,
            &[4, 3],
            z.iter().rev().copied().map(|b| b & 0x3f).collect(),
        ),
        ("loss", Dtype::F32, &[1], 1f32.to_le_bytes().to_vec()),
        ("grad.z1", Dtype::F16, &[4, 3], halves),
    ];
    let f = file(r#"{"kind": "nt_xent", "config": {}}"#, &inputs);
    let e = f.evaluate(&mut HostExecutor::<f64>::new()).unwrap();
    let said = f.compare(&e).unwrap_err().to_string();
    assert!(said.contains("`grad.z1` is F16"), "{said}");
}

/// `macl` is what `nt_xent` and `moco` are with MACL's constants; Barlow Twins of a file without the key is unbiased.
#[test]
fn kinds_and_defaults_of_files() {
    let plain = Plain {
        tau: 0.1,
        macl: Some(Macl {
            alpha: 0.5,
            a0: 0.0,
        }),
    };
    let empty: [(&str, Dtype, &[usize], Vec<u8>); 0] = [];
    let of = |meta: &str| file(meta, &empty).loss().unwrap();
    let positive_in_denominator = true;
    assert_eq!(
        of(r#"{"kind": "macl", "config": {}}"#),
        Loss::NtXent {
            temperature: plain,
            positive_in_denominator
        }
    );
    let queue = [("queue", Dtype::F32, &[1, 1][..], vec![0u8; 4])];
    assert_eq!(
        file(r#"{"kind": "macl", "config": {}}"#, &queue)
            .loss()
            .unwrap(),
        Loss::Moco { temperature: plain }
    );
    let barlow = |standardize| Loss::BarlowTwins {
        lambda: 5e-3,
        standardize,
    };
    assert_eq!(
        of(r#"{"kind": "barlow", "config": {}}"#),
        barlow(Deviation::Unbiased)
    );
    assert_eq!(
        of(r#"{"kind": "barlow", "config": {"standardize": "batch_norm"}}"#),
        barlow(Deviation::BatchNorm)
    );
    let unknown = file(
        r#"{"kind": "barlow", "config": {"standardize": "no"}}"#,
        &empty,
    );
    assert!(
        unknown
            .loss()
            .unwrap_err()
            .to_string()
            .contains("standardize")
    );
}
