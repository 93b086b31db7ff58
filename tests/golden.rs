//! Losses and gradients against PyTorch's (tests/golden, made by make_golden.py there), on all executors.

use amcl_wgpu::device::{Choice, Device, Options};
use amcl_wgpu::graph::Executor;
use amcl_wgpu::graph::gpu::GpuExecutor;
use amcl_wgpu::graph::host::HostExecutor;
use amcl_wgpu::methods::loss_file::LossFile;

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
