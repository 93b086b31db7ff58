//! kNN and probe against scikit-learn's (tests/golden/eval); views for torchvision. tests/verify.rs has augmentations
//! against torchvision's and kNN against PyTorch's.

use amcl_wgpu::data::augment::Policy;
use amcl_wgpu::data::{packed, shapes};
use amcl_wgpu::device::{Choice, Device, Options};
use amcl_wgpu::downstream::probe::{Decay, Labelled, Protocol, probe};
use amcl_wgpu::eval::knn;
use amcl_wgpu::graph::gpu::GpuExecutor;
use amcl_wgpu::graph::host::HostExecutor;
use amcl_wgpu::graph::{Executor, Graph, HostData, TensorType};
use amcl_wgpu::ops::augment::{Augment, words};
use amcl_wgpu::reference::augment::{Filter, ROW};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use std::collections::HashMap;

fn floats(st: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    bytemuck::pod_collect_to_vec(st.tensor(name).unwrap().data())
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
    let file =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/eval/eval.safetensors");
    let bytes = std::fs::read(file).unwrap();
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

/// A crop of a fixture's case: the image, the box, the side of the result.
fn crop(case: &serde_json::Value) -> (usize, [usize; 4], usize) {
    let step = &case["steps"][0];
    let whole = |v: &serde_json::Value| v.as_u64().unwrap() as usize;
    let at = ["top", "left", "height", "width"].map(|key| whole(&step[key]));
    (whole(&case["image"]), at, whole(&step["size"][0]))
}

/// Pillow's bicubic crops of images of bytes (tests/golden/data/bicubic.safetensors, made by make_bicubic.py). It
/// rounds after each axis, where nothing is rounded here: half a level for the second axis, and half a level times the
/// largest sum of a pixel's absolute weights, 1.25, for the first. tests/verify.rs compares with Pillow's floats.
#[test]
fn bicubic_views_are_pillows_but_for_its_roundings() {
    const LEVELS: f64 = 0.5 + 0.5 * 1.25;
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/data/bicubic.safetensors");
    let bytes = std::fs::read(file).unwrap();
    let (_, head) = SafeTensors::read_metadata(&bytes).unwrap();
    let meta = &head.metadata().as_ref().unwrap()["meta"];
    let meta: serde_json::Value = serde_json::from_str(meta).unwrap();
    let st = SafeTensors::deserialize(&bytes).unwrap();
    let images = st.tensor("images").unwrap();
    let side = images.shape()[2];
    let planes = side * side;
    for mut exec in executors() {
        let name = exec.name();
        let mut worst = |filter| {
            let mut worst = 0.0f64;
            for case in meta["cases"].as_array().unwrap() {
                let (image, at, size) = crop(case);
                let planar = &images.data()[image * 3 * planes..(image + 1) * 3 * planes];
                let pixels = (0..3 * planes).map(|i| planar[i % 3 * planes + i / 3]);
                let packed: Vec<u32> = bytemuck::pod_collect_to_vec(&pixels.collect::<Vec<u8>>());
                let mut row = Policy::whole((side, side), 1);
                for (r, v) in row.iter_mut().zip(at) {
                    *r = v as f32;
                }
                let op = Augment {
                    height: side,
                    width: side,
                    size,
                    filter,
                    blur: false,
                    mean: [0.0; 3],
                    std: [1.0; 3],
                };
                let mut g = Graph::new();
                let x = g.input("images", TensorType::u32([1, packed.len()]));
                let t = g.input("table", TensorType::f32([1, ROW]));
                let y = g.push1(op, &[x, t]).unwrap();
                let inputs = [(x, HostData::U32(packed)), (t, HostData::F32(row))];
                let view = exec.evaluate(&g, &inputs, &[y]).unwrap()[0].to_f64();
                let key = case["key"].as_str().unwrap().replace("out", "bytes");
                let want = st.tensor(&key).unwrap().data();
                for (i, v) in view.iter().enumerate() {
                    let level = f64::from(want[i % 3 * size * size + i / 3]);
                    worst = worst.max((v * 255.0 - level).abs());
                }
            }
            worst
        };
        let bicubic = worst(Filter::Bicubic);
        println!("{name}: {bicubic:.3} levels");
        // 1e-3: Pillow's weights have 22 bits, f32 has 24; 255 levels of some 100 such roundings.
        assert!((0.6..LEVELS + 1e-3).contains(&bicubic), "{bicubic}");
        // The control: the other filter.
        let bilinear = worst(Filter::Bilinear);
        assert!(bilinear > 10.0, "{bilinear}");
    }
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
        filter: policy.interpolation,
        blur: policy.blurs(),
        mean: policy.mean,
        std: policy.std,
    };
    let packed = packed::pack(data, &ids).unwrap().words;
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
