//! Augmentations against torchvision's, and kNN against PyTorch's (tests/golden/data, made by
//! tests/golden/make_golden.py).

use amcl_wgpu::data::augment::Policy;
use amcl_wgpu::data::{packed, shapes};
use amcl_wgpu::device::{Choice, Device, Options};
use amcl_wgpu::downstream::probe::{Decay, Labelled, Protocol, probe};
use amcl_wgpu::eval::knn;
use amcl_wgpu::graph::gpu::GpuExecutor;
use amcl_wgpu::graph::host::HostExecutor;
use amcl_wgpu::graph::{Executor, Graph, HostData, StepScalars, TensorType};
use amcl_wgpu::ops::augment::{Augment, words};
use amcl_wgpu::reference::augment::{
    Adjust, FACTORS, FLIP, GRAY, ORDER, RADIUS, ROW, SIGMA, SOLARISE, TOP, order_code,
};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use std::collections::HashMap;

fn read(name: &str) -> Vec<u8> {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/data");
    std::fs::read(dir.join(name)).unwrap()
}

fn meta(bytes: &[u8]) -> Value {
    let (_, header) = SafeTensors::read_metadata(bytes).unwrap();
    serde_json::from_str(&header.metadata().as_ref().unwrap()["meta"]).unwrap()
}

fn floats(st: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    bytemuck::pod_collect_to_vec(st.tensor(name).unwrap().data())
}

/// A list of torchvision calls as one row of the table, the op's output side, and whether it normalises.
fn row(steps: &Value, side: usize) -> ([f32; ROW], usize, bool) {
    let mut row = [0.0; ROW];
    (row[TOP + 2], row[TOP + 3], row[SOLARISE]) = (side as f32, side as f32, 2.0);
    let mut order = Vec::new();
    let (mut size, mut normalise) = (side, false);
    for s in steps.as_array().unwrap() {
        let number = |k: &str| s[k].as_f64().unwrap() as f32;
        match s["op"].as_str().unwrap() {
            "resized_crop" => {
                for (i, k) in ["top", "left", "height", "width"].iter().enumerate() {
                    row[TOP + i] = number(k);
                }
                size = s["size"][0].as_u64().unwrap() as usize;
            }
            "hflip" => row[FLIP] = 1.0,
            "grayscale" => row[GRAY] = 1.0,
            "gaussian_blur" => {
                row[RADIUS] = (number("kernel") - 1.0) / 2.0;
                row[SIGMA] = number("sigma");
            }
            "normalize" => normalise = true,
            adjust => {
                let names = ["brightness", "contrast", "saturation", "hue"];
                let i = names.iter().position(|n| *n == adjust).unwrap();
                row[FACTORS + i] = number("factor");
                order.push(
                    [
                        Adjust::Brightness,
                        Adjust::Contrast,
                        Adjust::Saturation,
                        Adjust::Hue,
                    ][i],
                );
            }
        }
    }
    order.resize(4, Adjust::None);
    row[ORDER] = order_code(order.try_into().unwrap());
    (row, size, normalise)
}

/// Largest difference from torchvision over all cases of a file, when `spoil` changes each row first.
fn worst(exec: &mut dyn Executor, file: &str, spoil: impl Fn(&mut [f32; ROW])) -> f64 {
    let bytes = read(file);
    let st = SafeTensors::deserialize(&bytes).unwrap();
    let images = st.tensor("images").unwrap();
    let side = images.shape()[2];
    let mut worst = 0.0f64;
    for case in meta(&bytes)["cases"].as_array().unwrap() {
        let (mut row, size, normalise) = row(&case["steps"], side);
        spoil(&mut row);
        // Planes to pixels, four bytes a word.
        let n = 3 * side * side;
        let first = case["image"].as_u64().unwrap() as usize * n;
        let planes = &images.data()[first..first + n];
        let mut px: Vec<u8> = (0..n)
            .map(|i| planes[i % 3 * side * side + i / 3])
            .collect();
        px.resize(words(side, side) * 4, 0);
        let (mean, std) = if normalise {
            ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
        } else {
            ([0.0; 3], [1.0; 3])
        };
        let op = Augment {
            height: side,
            width: side,
            size,
            blur: row[RADIUS] > 0.0,
            mean,
            std,
        };
        let mut g = Graph::new();
        let x = g.input("images", TensorType::u32([1, words(side, side)]));
        let t = g.input("table", TensorType::f32([1, ROW]));
        let y = g.push1(op, &[x, t]).unwrap();
        let program = exec.compile(&g, &[y]).unwrap();
        exec.upload(
            program,
            x,
            &HostData::U32(bytemuck::pod_collect_to_vec(&px)),
        )
        .unwrap();
        exec.upload(program, t, &HostData::F32(row.to_vec()))
            .unwrap();
        exec.run(program, &StepScalars::default()).unwrap();
        let got = exec.fetch(program, y).unwrap().to_f64();
        let want = floats(&st, case["key"].as_str().unwrap());
        assert_eq!(got.len(), want.len());
        for (i, v) in got.iter().enumerate() {
            // A normalised value is 1/std times as large; the bound is on the image's scale.
            let unit = if normalise {
                f64::from(std[i % 3])
            } else {
                1.0
            };
            let e = (v - f64::from(want[i % 3 * size * size + i / 3])).abs() * unit;
            worst = worst.max(e);
        }
    }
    worst
}

fn augmentations(exec: &mut dyn Executor) {
    for file in ["aug_32.safetensors", "aug_96.safetensors"] {
        let e = worst(exec, file, |_| ());
        println!(
            "{file}: largest difference {e:.1e}, bound {:.1e}",
            1.0 / 255.0
        );
        assert!(e <= 1.0 / 255.0, "{file}: {e}");
        // Negative controls: a crop one pixel off, a wrong order, an unwanted flip.
        for (what, spoil) in [
            (
                "crop",
                (|r: &mut [f32; ROW]| r[TOP + 3] -= 1.0) as fn(&mut [f32; ROW]),
            ),
            ("flip", |r| r[FLIP] = 1.0 - r[FLIP]),
            ("factors", |r| r[FACTORS] *= 1.05),
        ] {
            let e = worst(exec, file, spoil);
            assert!(
                e > 1.0 / 255.0,
                "{file}: a wrong {what} went unnoticed ({e})"
            );
        }
    }
}

#[test]
fn augmentations_f64() {
    augmentations(&mut HostExecutor::<f64>::new());
}

#[test]
fn augmentations_cpu() {
    augmentations(&mut HostExecutor::<f32>::new());
}

#[test]
fn augmentations_gpu() {
    let name = std::env::var("AMCL_TEST_DEVICE").unwrap_or_else(|_| "llvmpipe".into());
    let choice: Choice = name.parse().unwrap();
    let device = Device::open(&choice, Options::default())
        .unwrap_or_else(|e| panic!("this test needs a Vulkan adapter: {e}"));
    augmentations(&mut GpuExecutor::new(device));
}

#[test]
fn knn_predictions() {
    let bytes = read("knn_200.safetensors");
    let st = SafeTensors::deserialize(&bytes).unwrap();
    let integers = |name: &str| -> Vec<u32> {
        bytemuck::pod_collect_to_vec::<u8, i64>(st.tensor(name).unwrap().data())
            .into_iter()
            .map(|v| v as u32)
            .collect()
    };
    let (bank, queries, labels) = (
        floats(&st, "bank"),
        floats(&st, "queries"),
        integers("bank_labels"),
    );
    let d = st.tensor("bank").unwrap().shape()[1];
    let bank = knn::Bank {
        features: &bank,
        labels: &labels,
    };
    for mut exec in executors() {
        let mut predicted = |k| {
            let (distance, t) = (knn::Distance::Cosine, 0.1);
            let vote = knn::Vote { k, t, distance };
            let knn = knn::Knn::compile(exec.as_mut(), labels.len(), d, 10, vote).unwrap();
            let ranked = knn.ranked(exec.as_mut(), &queries, bank).unwrap();
            ranked.chunks(10).map(|c| c[0]).collect::<Vec<_>>()
        };
        // The control: other votes.
        let nearest = predicted(1);
        for k in [20, 200] {
            let want = integers(&format!("pred_k{k}"));
            assert_eq!(predicted(k), want, "k = {k}");
            assert_ne!(nearest, want);
        }
    }
}

/// In f64, in f32, and on the GPU that tests use.
fn executors() -> [Box<dyn Executor>; 3] {
    let name = std::env::var("AMCL_TEST_DEVICE").unwrap_or_else(|_| "llvmpipe".into());
    let choice: Choice = name.parse().unwrap();
    let device = Device::open(&choice, Options::default())
        .unwrap_or_else(|e| panic!("this test needs a Vulkan adapter: {e}"));
    [
        Box::new(HostExecutor::<f64>::new()),
        Box::new(HostExecutor::<f32>::new()),
        Box::new(GpuExecutor::new(device)),
    ]
}

/// scikit-learn's kNN and logistic regression on the same features (tests/golden/eval, made by make_eval.py there):
/// every query's classes in the same order; the probe, trained to convergence in full batches, reaches the same
/// cross-entropy and the same accuracies.
#[test]
fn evaluation_equals_scikit_learns() {
    let bytes = read("../eval/eval.safetensors");
    let st = SafeTensors::deserialize(&bytes).unwrap();
    let (bank, query) = (floats(&st, "bank"), floats(&st, "query"));
    let ints =
        |name: &str| -> Vec<u32> { bytemuck::pod_collect_to_vec(st.tensor(name).unwrap().data()) };
    let reals =
        |name: &str| -> Vec<f64> { bytemuck::pod_collect_to_vec(st.tensor(name).unwrap().data()) };
    let (y, truth) = (ints("bank_label"), ints("query_label"));
    let known = knn::Bank {
        features: &bank,
        labels: &y,
    };
    for mut exec in executors() {
        let mut ranked = |distance, k| {
            let t = 0.1;
            let vote = knn::Vote { k, t, distance };
            let knn = knn::Knn::compile(exec.as_mut(), y.len(), 10, 4, vote).unwrap();
            knn.ranked(exec.as_mut(), &query, known).unwrap()
        };
        for (name, distance) in [
            ("cosine", knn::Distance::Cosine),
            ("euclidean", knn::Distance::Euclidean),
        ] {
            assert_eq!(ranked(distance, 15), ints(name), "{name}");
            // The control: another number of neighbours orders some classes otherwise.
            assert_ne!(ranked(distance, 5), ints(name), "{name}");
        }
    }
    let all = ints("cosine");
    assert_eq!(knn::top(&all, &truth, 4), 100.0);
    assert!(knn::top(&all, &truth, 2) > knn::top(&all, &truth, 1));

    let p = Protocol {
        name: "converged",
        epochs: 1500,
        batch_size: 120,
        lr: 0.5,
        lars: false,
        standardise: false,
        momentum: 0.9,
        weight_decay: 1e-2,
        decay: Decay::Cosine,
        augment: false,
    };
    let of = |features, labels| Labelled { features, labels };
    let found = probe(
        &p,
        &[[of(&bank, &y), of(&query, &truth)]],
        4,
        0,
        &mut || Ok(Box::new(HostExecutor::<f32>::new())),
        &mut |_| unreachable!("nothing is augmented"),
        &|_, _| (),
    )
    .unwrap()[0];
    let loss = reals("logistic_loss")[0];
    assert!((found.loss - loss).abs() < 1e-5, "{found:?} {loss}");
    let [test, train] = reals("logistic_top1")[..] else {
        panic!("two accuracies")
    };
    assert!((found.top1 - test).abs() < 1e-9 && (found.train_top1 - train).abs() < 1e-9);
}

/// Writes images, what is drawn for two views of each, and the views, for `tests/interop/run`, into the file that
/// `AMCL_VIEWS` names.
#[test]
#[ignore = "only writes a file that tests/interop/run reads"]
fn views_for_torchvision() {
    let file = std::env::var("AMCL_VIEWS").expect("AMCL_VIEWS names the file");
    let (n, size) = (24, 32);
    let split = shapes::generate(5, n, 0);
    let data = &split.train;
    let side = (data.height, data.width);
    let policy = Policy {
        families: "abcde".into(),
        solarization_prob: [0.3, 0.0],
        ..Policy::default()
    };
    let ids: Vec<u32> = (0..n as u32).collect();
    let rows = policy.two_views(side, &ids, size, 1, 0);
    let op = Augment {
        height: side.0,
        width: side.1,
        size,
        blur: policy.blurs(),
        mean: policy.mean,
        std: policy.std,
    };
    let packed = packed::pack(data, &ids);
    let mut g = Graph::new();
    let x = g.input("images", TensorType::u32([n, words(side.0, side.1)]));
    let t = g.input("table", TensorType::f32([2 * n, ROW]));
    let y = g.push1(op, &[x, t]).unwrap();
    let mut exec = HostExecutor::<f32>::new();
    let inputs = [
        (x, HostData::U32(packed.clone())),
        (t, HostData::F32(rows.clone())),
    ];
    let views = exec.evaluate(&g, &inputs, &[y]).unwrap()[0].to_f32();
    let bytes = |v: &[f32]| -> Vec<u8> { v.iter().flat_map(|v| v.to_le_bytes()).collect() };
    // Four bytes a word, each image padded to whole words.
    let pixels = 3 * side.0 * side.1;
    let images: Vec<u8> = packed
        .chunks(words(side.0, side.1))
        .flat_map(|image| {
            let bytes = image.iter().flat_map(|w| w.to_le_bytes());
            bytes.take(pixels).collect::<Vec<u8>>()
        })
        .collect();
    let tensors = [
        ("images", Dtype::U8, vec![n, side.0, side.1, 3], images),
        ("rows", Dtype::F32, vec![2 * n, ROW], bytes(&rows)),
        (
            "views",
            Dtype::F32,
            vec![2 * n, size, size, 3],
            bytes(&views),
        ),
    ];
    let tensors = tensors.iter().map(|(name, dtype, shape, data)| {
        (*name, TensorView::new(*dtype, shape.clone(), data).unwrap())
    });
    let meta = serde_json::json!({"mean": policy.mean, "std": policy.std}).to_string();
    let meta = HashMap::from([("meta".to_string(), meta)]);
    std::fs::write(file, safetensors::serialize(tensors, Some(meta)).unwrap()).unwrap();
}
