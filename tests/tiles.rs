//! Tiles of products and convolutions on GPUs: chosen by timing, kept, and then fixed. On a CPU driver with the
//! kernels that are meant for GPUs.

use amcl_wgpu::device::{Choice, Device, Options, TileChoices};
use amcl_wgpu::graph::gpu::GpuExecutor;
use amcl_wgpu::graph::{Executor, Graph, HostData, StepScalars, TensorId, TensorType};
use amcl_wgpu::ops::conv2d::Conv2d;
use amcl_wgpu::ops::gemm::Gemm;
use amcl_wgpu::ops::tiles::TILES;
use amcl_wgpu::run::folder;
use amcl_wgpu::train::tune;
use std::sync::Arc;

fn device() -> Arc<Device> {
    let name = std::env::var("AMCL_TEST_DEVICE").unwrap_or_else(|_| "llvmpipe".into());
    let choice: Choice = name.parse().unwrap();
    let options = Options {
        gpu_kernels: true,
        ..Options::default()
    };
    Device::open(&choice, options)
        .unwrap_or_else(|e| panic!("this test needs a Vulkan adapter: {e}"))
}

/// Two equal convolutions and a product: two things to time.
fn graph() -> (Graph, Vec<TensorId>, TensorId) {
    let mut g = Graph::new();
    let x = g.input("x", TensorType::f32([2, 6, 6, 4]));
    let w = g.input("w", TensorType::f32([4, 3, 3, 4]));
    let m = g.input("m", TensorType::f32([4, 70]));
    let conv = Conv2d {
        stride: 1,
        padding: 1,
    };
    let y = g.push1(conv, &[x, w]).unwrap();
    let y = g.push1(conv, &[y, w]).unwrap();
    let shape = [72, 4].into();
    let y = g
        .push1(amcl_wgpu::ops::reshape::Reshape { shape }, &[y])
        .unwrap();
    let y = g.push1(Gemm::default(), &[y, m]).unwrap();
    (g, vec![x, w, m], y)
}

#[test]
fn tiles_are_timed_once_and_then_known() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("deep").join("tiles.json");
    let (g, ..) = graph();
    let mut told = Vec::new();
    let first = tune::tiles(&device(), &[&g], Some(&cache), &mut |done, all| {
        told.push((done, all));
    })
    .unwrap();
    assert_eq!(told, [(0, 2), (1, 2), (2, 2)]);
    let keys: Vec<&str> = first.listed.keys().map(String::as_str).collect();
    assert_eq!(keys, ["conv2d 2x6x6x4 4x3x3/1 1", "gemm NN 1x72x70x4"]);
    assert!(first.listed.values().all(|t| *t < TILES.len()));
    // Known: the same, and nothing is timed.
    let again = tune::tiles(&device(), &[&g], Some(&cache), &mut |_, _| {
        panic!("timed what is known")
    });
    assert_eq!(again.unwrap(), first);
    // A damaged file is as none.
    std::fs::write(&cache, "{ \"half").unwrap();
    let mut timed = 0;
    tune::tiles(&device(), &[&g], Some(&cache), &mut |_, _| timed += 1).unwrap();
    assert_eq!(timed, 3);
}

#[test]
fn a_run_folder_fixes_the_tiles() {
    let dir = tempfile::tempdir().unwrap();
    let mut told = Vec::new();
    let mut read = || tune::of_folder(dir.path(), &mut |l| told.push(l));
    assert_eq!(read(), TileChoices::default());
    let listed = [("gemm NN 1x72x70x4".to_string(), 4)].into();
    let kept = TileChoices { all: None, listed };
    let text = tune::record(&kept);
    std::fs::write(dir.path().join(folder::TILES), &text).unwrap();
    assert_eq!(read(), kept);
    // The same numbers, of another list of tiles or of none that is known.
    let other = text.replace("\"tiles\": \"", "\"tiles\": \"0");
    assert_ne!(other, text);
    for text in [other, serde_json::to_string(&kept).unwrap()] {
        std::fs::write(dir.path().join(folder::TILES), text).unwrap();
        assert_eq!(read(), TileChoices::default());
    }
    assert!(
        told.len() == 2 && told[0].contains("other tiles"),
        "{told:?}"
    );
}

#[test]
fn a_choice_is_what_runs_and_repeats_its_bits() {
    let run = |choices: TileChoices| {
        let device = device();
        device.set_tiles(choices);
        let mut exec = GpuExecutor::new(device.clone());
        let (g, inputs, y) = graph();
        let program = exec.compile(&g, &[y]).unwrap();
        for t in inputs {
            let n = g.ty(t).elements();
            let values = (0..n).map(|i| (i as f32 * 0.7).sin()).collect();
            exec.upload(program, t, &HostData::F32(values)).unwrap();
        }
        exec.run(program, &StepScalars::default()).unwrap();
        let bits: Vec<u32> = exec
            .fetch(program, y)
            .unwrap()
            .to_f32()
            .iter()
            .map(|v| v.to_bits())
            .collect();
        let compiled: Vec<String> = device.shader_variants().into_iter().map(|v| v.0).collect();
        (bits, compiled)
    };
    for tile in [1, 4] {
        let listed = [("gemm NN 1x72x70x4".to_string(), tile)].into();
        let choices = TileChoices { all: None, listed };
        let ((a, kernels), (b, _)) = (run(choices.clone()), run(choices));
        assert_eq!(a, b);
        let defines: &[&str] = match tile {
            4 => &[" COLS=8u"],
            _ => &[" COLS=16u", " WIDE_M="],
        };
        assert!(
            kernels
                .iter()
                .any(|k| k.starts_with("gemm:tiled") && defines.iter().all(|d| k.contains(d))),
            "{kernels:?}"
        );
    }
}
