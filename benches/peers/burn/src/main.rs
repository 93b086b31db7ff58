//! Products, convolutions, attention, layer norm and GELU of burn 0.22 on the default wgpu adapter, at the shapes of
//! `amcl-wgpu bench`: forward, and forward with all gradients together.
//!
//!     cargo run --release --manifest-path benches/peers/burn/Cargo.toml -- [--large] [--seconds S] [--out FILE]
//!
//! burn's launches are asynchronous and its graph lazy, so every run reads one value back; the read-back's own time
//! is measured and taken off.

use burn::nn::LayerNormConfig;
use burn::tensor::activation::{gelu, softmax};
use burn::tensor::{Device, Distribution, Tensor, module::conv2d, ops::ConvOptions};
use serde_json::json;
use std::time::Instant;

/// Seconds of the runs of `f` after two to warm up: at least three, for about `seconds`.
fn timed(seconds: f64, mut f: impl FnMut()) -> Vec<f64> {
    f();
    f();
    let (begin, mut all) = (Instant::now(), Vec::new());
    while all.len() < 3 || begin.elapsed().as_secs_f64() < seconds {
        let t = Instant::now();
        f();
        all.push(t.elapsed().as_secs_f64());
    }
    all.sort_by(f64::total_cmp);
    all
}

fn value<const D: usize>(t: &Tensor<D>) -> f32 {
    let one: [std::ops::Range<usize>; D] = std::array::from_fn(|_| 0..1);
    t.clone().slice(one).into_data().to_vec::<f32>().expect("a float")[0]
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let after = |flag: &str| args.iter().position(|a| a == flag).and_then(|i| args.get(i + 1));
    let large = args.iter().any(|a| a == "--large");
    let seconds: f64 = after("--seconds").map_or(1.0, |s| s.parse().expect("--seconds takes a number"));
    let plain = Device::wgpu(Default::default());
    let tracked = Device::wgpu(Default::default()).autodiff();

    let small: Tensor<2> = Tensor::random([64, 64], Distribution::Default, &plain);
    value(&small);
    let read_back = timed(0.2, || drop(value(&small)))[0];
    println!("read-back of one value: {:.3} ms, taken off each time", read_back * 1e3);

    let mut rows = Vec::new();
    let mut row = |name: String, flops: f64, mut all: Vec<f64>| {
        all.iter_mut().for_each(|t| *t = (*t - read_back).max(1e-9));
        let (median, best) = (all[all.len() / 2], all[all.len() / 10]);
        println!("{name:44} {:9.3} ms {:9.2} GFLOP/s ({:.2})", median * 1e3, flops / median / 1e9, flops / best / 1e9);
        rows.push(json!({ "name": name, "seconds": median, "gflops": flops / median / 1e9, "gflops_best": flops / best / 1e9, "runs": all.len() }));
    };

    let sizes: &[usize] = if large { &[512, 1024, 2048, 4096] } else { &[512, 1024] };
    for &n in sizes {
        let a: Tensor<2> = Tensor::random([n, n], Distribution::Default, &plain);
        let b: Tensor<2> = Tensor::random([n, n], Distribution::Default, &plain);
        let all = timed(seconds, || drop(value(&a.clone().matmul(b.clone()))));
        row(format!("gemm {n}x{n}x{n}"), 2.0 * (n as f64).powi(3), all);
    }
    let shapes: &[(usize, usize, usize, usize)] = if large {
        &[(512, 32, 64, 64), (512, 16, 128, 128), (512, 8, 256, 256), (512, 4, 512, 512)]
    } else {
        &[(32, 32, 16, 16), (32, 16, 32, 32), (32, 16, 64, 64)]
    };
    for &(n, h, c, k) in shapes {
        let x: Tensor<4> = Tensor::random([n, c, h, h], Distribution::Default, &tracked).require_grad();
        let w: Tensor<4> = Tensor::random([k, c, 3, 3], Distribution::Default, &tracked).require_grad();
        let flops = 2.0 * (n * c * k * 9 * h * h) as f64;
        let forward = || conv2d(x.clone(), w.clone(), None, ConvOptions::new([1, 1], [1, 1], [1, 1], 1));
        let name = format!("3x3/1 {n}x{h}x{h} {c}->{k}");
        let all = timed(seconds, || drop(value(&forward())));
        row(format!("conv2d {name}"), flops, all);
        // The sum's gradient is constant, so what is timed is the forward pass and both gradients.
        let all = timed(seconds, || {
            let y = forward();
            let g = y.sum().backward();
            value(&x.grad(&g).expect("the input's gradient"));
            value(&w.grad(&g).expect("the weight's gradient"));
        });
        row(format!("conv2d+grads {name}"), 3.0 * flops, all);
    }
    // ViT-S/4 at 32 px, two views of 16 images; large: ViT-S/16 at 224 px, fewer images.
    let (b, n, heads, width) = if large { (64, 197, 6, 64) } else { (32, 65, 6, 64) };
    let (d, scale) = (heads * width, (width as f64).sqrt().recip());
    let random = |columns| -> Tensor<3> {
        Tensor::random([b, n, columns], Distribution::Default, &tracked).require_grad()
    };
    let (x, h, qkv) = (random(d), random(4 * d), random(3 * d));
    let attention = || {
        let parts = qkv.clone().reshape([b, n, 3, heads, width]).permute([2, 0, 3, 1, 4]);
        let mut thirds = (0..3).map(|i| parts.clone().slice([i..i + 1]).reshape([b, heads, n, width]));
        let mut third = || thirds.next().expect("three of them");
        let (q, k, v): (Tensor<4>, Tensor<4>, Tensor<4>) = (third(), third(), third());
        let weights = softmax(q.matmul(k.transpose()) * scale, 3);
        weights.matmul(v).permute([0, 2, 1, 3]).reshape([b, n, d])
    };
    let norm = LayerNormConfig::new(d).with_epsilon(1e-6).init(&tracked);
    let of_attention = 4.0 * (b * heads * n * n * width) as f64;
    let mut both = |name: &str, note: String, flops: f64, leaf: &Tensor<3>, forward: &dyn Fn() -> Tensor<3>| {
        let all = timed(seconds, || drop(value(&forward())));
        row(format!("{name} {note}"), flops, all);
        let all = timed(seconds, || {
            let g = forward().sum().backward();
            value(&leaf.grad(&g).expect("the input's gradient"));
        });
        row(format!("{name} forward+backward {note}"), 3.5 * flops, all);
    };
    both("attention", format!("{b}x{n} {heads}x{width}"), of_attention, &qkv, &attention);
    both("layer_norm", format!("{b}x{n}x{d}"), 0.0, &x, &|| norm.forward(x.clone()));
    both("gelu", format!("{b}x{n}x{}", 4 * d), 0.0, &h, &|| gelu(h.clone()));
    if let Some(path) = after("--out") {
        let text = json!({ "peer": "burn 0.22.1, wgpu backend, WGSL", "read_back_seconds": read_back, "rows": rows });
        std::fs::write(path, format!("{text:#}\n")).expect("--out can be written");
    }
}
