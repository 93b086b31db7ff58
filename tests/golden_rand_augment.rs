//! RandAugment's operations against timm's and PIL's on two images (tests/golden/data/rand_augment.safetensors, made by
//! tests/golden/make_rand_augment.py; moves with the bicubic filter: rand_augment_bicubic.safetensors, made by
//! make_bicubic.py), on all executors.

use amcl_wgpu::data::rand_augment::operation;
use amcl_wgpu::device::{Choice, Device, Options};
use amcl_wgpu::graph::gpu::GpuExecutor;
use amcl_wgpu::graph::host::HostExecutor;
use amcl_wgpu::graph::{Executor, Graph, HostData, StepScalars, TensorType};
use amcl_wgpu::ops::rand_augment::RandAugment;
use amcl_wgpu::reference::augment::Filter;
use safetensors::SafeTensors;

const SIDE: usize = 24;

/// Names in the file, the operation's number, its side, and whether it moves the image.
const OPERATIONS: [(&str, usize, f32, bool); 19] = [
    ("auto_contrast", 0, 1.0, false),
    ("equalize", 1, 1.0, false),
    ("invert", 2, 1.0, false),
    ("rotate", 3, 1.0, true),
    ("posterize", 4, 1.0, false),
    ("solarize", 5, 1.0, false),
    ("solarize_add", 6, 1.0, false),
    ("color_up", 7, 1.0, false),
    ("color_down", 7, -1.0, false),
    ("contrast_up", 8, 1.0, false),
    ("contrast_down", 8, -1.0, false),
    ("brightness_up", 9, 1.0, false),
    ("brightness_down", 9, -1.0, false),
    ("sharpness_up", 10, 1.0, false),
    ("sharpness_down", 10, -1.0, false),
    ("shear_x", 11, 1.0, true),
    ("shear_y", 12, -1.0, true),
    ("translate_x", 13, 1.0, true),
    ("translate_y", 14, -1.0, true),
];

/// Levels of both images after an operation at magnitude 9.
fn levels(
    exec: &mut dyn Executor,
    filter: Filter,
    image: &[u8],
    (choice, sign): (usize, f32),
) -> Vec<i32> {
    let op = RandAugment {
        layers: 1,
        filter,
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
    };
    let entry = operation(choice, 0.9, sign, SIDE);
    let mut g = Graph::new();
    let x = g.input("x", TensorType::f32([2, SIDE, SIDE, 3]));
    let table = g.input("table", TensorType::f32([2, entry.len()]));
    let y = g.push1(op, &[x, table]).unwrap();
    let program = exec.compile(&g, &[y]).unwrap();
    let pixels = image.iter().map(|b| f64::from(*b) / 255.0).collect();
    exec.upload(program, x, &HostData::F64(pixels)).unwrap();
    let rows = HostData::F32(entry.repeat(2));
    exec.upload(program, table, &rows).unwrap();
    exec.run(program, &StepScalars::default()).unwrap();
    let out = exec.fetch(program, y).unwrap().to_f64();
    let level = |(i, v): (usize, &f64)| {
        let v = v * f64::from(op.std[i % 3]) + f64::from(op.mean[i % 3]);
        (v * 255.0).round() as i32
    };
    out.iter().enumerate().map(level).collect()
}

/// Levels that differ, and the largest difference.
fn differences(a: &[i32], b: &[u8]) -> (usize, i32) {
    assert_eq!(a.len(), b.len());
    let all = a.iter().zip(b).map(|(a, b)| (a - i32::from(*b)).abs());
    let worst = all.clone().max().unwrap();
    (all.filter(|d| *d > 0).count(), worst)
}

/// PIL cuts fractions off, so that a level which is whole in exact arithmetic may be one less where its own rounding
/// puts it just below: auto-contrast and moves may differ by one level, in at most one value of twenty. All others are
/// equal.
#[test]
fn operations_are_pils() {
    let read = |name: &str| {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/data");
        std::fs::read(folder.join(name)).unwrap()
    };
    let files = [
        "rand_augment.safetensors",
        "rand_augment_bicubic.safetensors",
    ]
    .map(read);
    let [bilinear, bicubic] = [0, 1].map(|i| SafeTensors::deserialize(&files[i]).unwrap());
    let of = |file: &SafeTensors<'_>, name: &str| file.tensor(name).unwrap().data().to_vec();
    let image = of(&bilinear, "image");
    let device = Device::open(&Choice::Name("llvmpipe".into()), Options::default());
    let mut executors: [Box<dyn Executor>; 3] = [
        Box::new(HostExecutor::<f64>::new()),
        Box::new(HostExecutor::<f32>::new()),
        Box::new(GpuExecutor::new(device.expect("lavapipe"))),
    ];
    for exec in &mut executors {
        for (name, choice, sign, moves) in OPERATIONS {
            let mut made = |filter| levels(exec.as_mut(), filter, &image, (choice, sign));
            let (linear, cubic) = (made(Filter::Bilinear), made(Filter::Bicubic));
            if moves {
                let (count, worst) = differences(&cubic, &of(&bicubic, name));
                assert!(
                    worst <= 1 && count <= image.len() / 20,
                    "{name}, bicubic, on {}: {count} differ, by {worst}",
                    exec.name()
                );
                // The control: the other filter.
                assert!(differences(&linear, &of(&bicubic, name)).1 > 5, "{name}");
            }
            let (count, worst) = differences(&linear, &of(&bilinear, name));
            let near = moves || name == "auto_contrast";
            let said = format!("{name} on {}: {count} differ, by {worst}", exec.name());
            match near {
                true => assert!(worst <= 1 && count <= image.len() / 20, "{said}"),
                false => assert_eq!(count, 0, "{said}"),
            }
        }
        // The control: the other side is another picture.
        let other = levels(exec.as_mut(), Filter::Bilinear, &image, (3, -1.0));
        assert!(differences(&other, &of(&bilinear, "rotate")).1 > 20);
    }
}
