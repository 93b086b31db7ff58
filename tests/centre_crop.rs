//! The views of evaluation: "resize 256, centre crop 224" of stored squares of 256 px, pixel by pixel.

use amcl_wgpu::config::Config;
use amcl_wgpu::data::augment::Policy;
use amcl_wgpu::data::{Dataset, packed};
use amcl_wgpu::graph::host::HostExecutor;
use amcl_wgpu::graph::{Executor, Graph, HostData, StepScalars, TensorType};
use amcl_wgpu::ops::augment::{Augment, words};
use amcl_wgpu::reference::augment::{ROW, TOP};
use amcl_wgpu::reference::philox::{Purpose, Stream};
use amcl_wgpu::train::session::Session;

/// Images of random pixels.
fn noise(count: usize, side: usize, seed: u64) -> Dataset {
    let mut stream = Stream::new(seed, 0, 0, Purpose::Shapes);
    let mut d = Dataset::empty(side, side);
    d.images = (0..count * side * side * 3)
        .map(|_| stream.below(256) as u8)
        .collect();
    d
}

/// What evaluation sees of images, views of side `size`.
fn seen(policy: &Policy, data: &Dataset, size: usize) -> Vec<f32> {
    let (n, side) = (data.len(), (data.height, data.width));
    let op = Augment {
        height: side.0,
        width: side.1,
        size,
        filter: policy.interpolation,
        blur: false,
        mean: policy.mean,
        std: policy.std,
    };
    let mut g = Graph::new();
    let images = g.input("images", TensorType::u32([n, words(side.0, side.1)]));
    let rows = g.input("views", TensorType::f32([n, ROW]));
    let out = g.push1(op, &[images, rows]).unwrap();
    let mut exec = HostExecutor::<f32>::new();
    let program = exec.compile(&g, &[out]).unwrap();
    let ids: Vec<u32> = (0..n as u32).collect();
    let mut pixels = packed::pack(data, &ids).unwrap();
    pixels.upload(&mut exec, program, images).unwrap();
    let table = HostData::F32(policy.plain(pixels.sides.as_slice(), n));
    exec.upload(program, rows, &table).unwrap();
    exec.run(program, &StepScalars::default()).unwrap();
    exec.fetch(program, out).unwrap().to_f32()
}

/// The largest difference of views from the pixels of the images from row `top` and column `left` on.
fn distance(
    policy: &Policy,
    data: &Dataset,
    size: usize,
    views: &[f32],
    (top, left): (usize, usize),
) -> f64 {
    let mut worst = 0.0f64;
    for (i, v) in views.iter().enumerate() {
        let (c, x, y) = (i % 3, i / 3 % size, i / 3 / size % size);
        let (image, (_, width)) = data.picture(i / 3 / size / size).unwrap();
        let pixel = image[3 * ((top + y) * width + left + x) + c];
        let expected =
            (f64::from(pixel) / 255.0 - f64::from(policy.mean[c])) / f64::from(policy.std[c]);
        worst = worst.max((f64::from(*v) - expected).abs());
    }
    worst
}

#[test]
fn a_view_of_224_px_is_the_centre_of_256() {
    let data = noise(2, 256, 3);
    let of = |crop_pct: f32| Policy {
        crop_pct,
        ..Policy::default()
    };
    let centre = seen(&of(0.875), &data, 224);
    assert_eq!(centre.len(), 2 * 224 * 224 * 3);
    // No pixel is resampled: pixel / 255, less a mean, over a deviation of .22 or more, a few roundings of f32 of
    // numbers up to 2.7.
    let far = |views: &[f32], at| distance(&of(1.0), &data, 224, views, at);
    assert!(far(&centre, (16, 16)) < 8.0 * 2.7 * f64::from(f32::EPSILON));
    // The controls: the whole square brought to 224 px, and a centre that is a pixel off.
    let whole = seen(&of(1.0), &data, 224);
    assert!(far(&whole, (16, 16)) > 1.0);
    assert!(far(&centre, (16, 15)) > 1.0 && far(&centre, (17, 16)) > 1.0);
}

/// Images whose shorter side is 256 px, each of sides of its own: "resize 256, centre crop 224" of each.
#[test]
fn a_view_of_224_px_is_the_centre_of_an_image_that_is_no_square() {
    for (side, at) in [((256, 341), (16, 58)), ((300, 256), (38, 16))] {
        // Random pixels fill all of the room, so that what an image has beyond its own would be seen.
        let mut data = noise(4, 256, 5);
        (data.height, data.width) = (256, 512);
        data.sides = vec![side; 2];
        let policy = Policy {
            crop_pct: 0.875,
            ..Policy::default()
        };
        let views = seen(&policy, &data, 224);
        let far = |at| distance(&policy, &data, 224, &views, at);
        assert!(far(at) < 8.0 * 2.7 * f64::from(f32::EPSILON), "{side:?}");
        // The control: a pixel off.
        assert!(far((at.0, at.1 - 1)) > 1.0 && far((at.0 - 1, at.1)) > 1.0);
    }
}

/// torchvision's `CenterCrop` begins at `int(round((side - crop) / 2.0))`, and Python rounds halves to even.
#[test]
fn the_centre_lies_where_torchvision_has_it() {
    let policy = Policy {
        crop_pct: 0.875,
        ..Policy::default()
    };
    let shape = |p: &Policy, side| p.plain(side, 1)[TOP..TOP + 4].to_vec();
    assert_eq!(
        shape(&policy, (256, 341)),
        [16.0, 58.0, 224.0, 224.0],
        "58.5"
    );
    assert_eq!(
        shape(&policy, (343, 256)),
        [60.0, 16.0, 224.0, 224.0],
        "59.5"
    );
    // 32 * 0.9 = 28.8, and all digits that are written count.
    let policy = Policy {
        crop_pct: 0.9,
        ..policy
    };
    assert_eq!(shape(&policy, (32, 32)), [2.0, 2.0, 29.0, 29.0], "1.5");
    // Without the setting a square is seen whole, as it always was.
    assert_eq!(
        Policy::default().plain((32, 32), 2),
        Policy::whole((32, 32), 2)
    );
}

/// What lies outside of the centre changes no feature; with `crop_pct = 1` it does.
#[test]
fn features_are_of_the_centre() {
    let (inside, other) = (noise(3, 32, 5), noise(3, 32, 6));
    let mut framed = other;
    for i in 0..3 {
        for y in 2..30 {
            let row = 3 * (i * 32 * 32 + y * 32 + 2)..3 * (i * 32 * 32 + y * 32 + 30);
            framed.images[row.clone()].copy_from_slice(&inside.images[row]);
        }
    }
    let features = |crop_pct: &str, data: &Dataset| {
        let set = [
            "model.width=4",
            "model.image_size=28",
            "heads.hidden=8",
            "optim.batch_size=2",
        ];
        let mut set: Vec<String> = set.map(String::from).into();
        set.push(format!("augment.crop_pct={crop_pct}"));
        let config = Config::parse("", &set).unwrap();
        let exec = Box::new(HostExecutor::<f32>::new());
        let mut session = Session::new(&config, exec, data).unwrap();
        session.features(data, &mut |_, _| ()).unwrap()
    };
    assert_eq!(features("0.875", &inside), features("0.875", &framed));
    assert_ne!(features("1.0", &inside), features("1.0", &framed));
}
