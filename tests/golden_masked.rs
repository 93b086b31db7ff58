//! MAE and CAN against PyTorch: latent tokens, predictions, terms of the loss, the gradient of every parameter
//! (tests/golden/masked; inputs and weights float32, all computed in float64, tensors stored as float32).

use crate::common;

use amcl_wgpu::config::Config;
use amcl_wgpu::graph::host::HostExecutor;
use amcl_wgpu::graph::{Executor, Graph, HostData, StepScalars, TensorId, TensorType};
use amcl_wgpu::methods::SplitLoss;
use amcl_wgpu::methods::can::{Can, Noised};
use amcl_wgpu::methods::mae::Mae;
use amcl_wgpu::nn::{Mode, Model, Net, Variable};
use amcl_wgpu::ops;
use amcl_wgpu::ops::row_scale::RowScale;
use common::relative;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

/// Scalars are stored as float64; the graph sums in another order, and has constants that were rounded to f32 at
/// nothing that matters here.
const SCALAR: f64 = 1e-10;
/// Tensors are stored as float32: half a unit of 2^-23, relative.
const TENSOR: f64 = 2e-7;

/// A file.
struct Golden {
    bytes: Vec<u8>,
    config: Value,
    /// The mask token, where it is another one than the file's.
    mask_token: Option<Vec<f64>>,
}

impl Golden {
    fn read(name: &str) -> Self {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/masked");
        let bytes = std::fs::read(dir.join(format!("{name}.safetensors"))).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let meta = &header.metadata().as_ref().unwrap()["meta"];
        let meta: Value = serde_json::from_str(meta).unwrap();
        Self {
            bytes,
            config: meta["config"].clone(),
            mask_token: None,
        }
    }

    fn tensor<R>(&self, name: &str, read: impl FnOnce(&TensorView<'_>) -> R) -> R {
        let all = SafeTensors::deserialize(&self.bytes).unwrap();
        let found = all.tensor(name);
        read(&found.unwrap_or_else(|_| panic!("no tensor {name}")))
    }

    fn values(&self, name: &str) -> Vec<f64> {
        self.tensor(name, |t| match t.dtype() {
            Dtype::F64 => bytemuck::pod_collect_to_vec(t.data()),
            _ => {
                let v: Vec<f32> = bytemuck::pod_collect_to_vec(t.data());
                v.into_iter().map(f64::from).collect()
            }
        })
    }

    fn shape(&self, name: &str) -> Vec<usize> {
        self.tensor(name, |t| t.shape().to_vec())
    }

    /// Images [n,c,h,w] as [n,h,w,c].
    fn images(&self, name: &str) -> (Vec<usize>, Vec<f64>) {
        let [n, c, h, w] = self.shape(name)[..] else {
            panic!("{name} is no batch of images")
        };
        let v = self.values(name);
        let at = |i: usize| {
            let (image, pixel, channel) = (i / (h * w * c), i / c % (h * w), i % c);
            v[(image * c + channel) * h * w + pixel]
        };
        (vec![n, h, w, c], (0..v.len()).map(at).collect())
    }

    fn config(&self, more: &[String]) -> Config {
        let c = |key: &str| self.config[key].clone();
        let mut set = vec![
            "model.encoder=vit_tiny".to_string(),
            format!("model.image_size={}", c("img")),
            format!("model.patch={}", c("patch")),
            format!("model.dim={}", c("dim")),
            format!("model.depth={}", c("depth")),
            format!("model.heads={}", c("heads")),
            format!("model.mlp_ratio={}", c("mlp")),
            format!("method.ratio={}", c("ratio")),
            format!("method.norm_pix={}", c("norm_pix")),
            format!("method.decoder_dim={}", c("dec_dim")),
            format!("method.decoder_depth={}", c("dec_depth")),
            format!("method.decoder_heads={}", c("dec_heads")),
        ];
        set.extend_from_slice(more);
        Config::parse("", &set).unwrap()
    }

    /// The name here of a parameter's tensor, but for the prefix `param.` or `grad.`; and its head where it is one of
    /// several that lie together in our memory.
    fn of(&self, v: &Variable, prefix: &str) -> Vec<f64> {
        let file = &v.file_name;
        if let Some(own) = self.mask_token.as_ref().filter(|_| file == "mask_token") {
            return own.clone();
        }
        match v.part.prefix() {
            "head" => {
                let heads = self.config["C"].as_u64().unwrap();
                let of_head = |c| self.values(&format!("{prefix}.heads.{c}.{file}"));
                (0..heads).flat_map(of_head).collect()
            }
            "phi" if prefix == "param" => self.values(&format!("phi.{file}")),
            "phi" => self.values(&format!("grad.phi.{file}")),
            _ => self.values(&format!("{prefix}.{file}")),
        }
    }
}

/// A graph with its model, and the values of its inputs.
struct Built {
    g: Graph,
    m: Model,
    inputs: Vec<(TensorId, Vec<f64>)>,
}

impl Built {
    fn input(&mut self, golden: &Golden, name: &str) -> TensorId {
        let shape = golden.shape(name);
        let (shape, values) = match shape.len() {
            4 => golden.images(name),
            _ => (shape, golden.values(name)),
        };
        let id = self.g.input("given", TensorType::f32(shape.as_slice()));
        self.inputs.push((id, values));
        id
    }

    fn new() -> Self {
        Self {
            g: Graph::new(),
            m: Model::default(),
            inputs: Vec::new(),
        }
    }

    /// Values of `wanted` and of the gradient of `loss`, of all parameters in their order, with the file's weights but
    /// for `moved`: a parameter's name and what is added to all of its numbers.
    fn run(
        &mut self,
        golden: &Golden,
        loss: TensorId,
        wanted: &[TensorId],
        moved: (&str, f64),
    ) -> (Vec<Vec<f64>>, Vec<Option<Vec<f64>>>) {
        let mut g = self.g.clone();
        let states = &self.m.states;
        let params: Vec<TensorId> = self
            .m
            .params
            .iter()
            .map(|p| g.state(states, p.id))
            .collect();
        let grads = ops::backward(&mut g, loss, &params).unwrap();
        let mut fetch = wanted.to_vec();
        fetch.extend(grads.iter().flatten());
        let mut exec = HostExecutor::<f64>::new();
        exec.allocate_states(states).unwrap();
        let program = exec.compile(&g, &fetch).unwrap();
        for p in &self.m.params {
            let values: Vec<f32> = golden.of(p, "param").iter().map(|v| *v as f32).collect();
            let dims = self.m.dims(p);
            assert_eq!(values.len(), dims.iter().product::<usize>(), "{}", p.name);
            let by = if p.file_name == moved.0 { moved.1 } else { 0.0 };
            let values = p.layout.from_file(&dims, values);
            let values = values.into_iter().map(|v| f64::from(v) + by).collect();
            exec.write_state(states, p.id, &HostData::F64(values))
                .unwrap();
        }
        for (id, values) in &self.inputs {
            exec.upload(program, *id, &HostData::F64(values.clone()))
                .unwrap();
        }
        exec.run(program, &StepScalars::default()).unwrap();
        let mut values = |t: TensorId| exec.fetch(program, t).unwrap().to_f64();
        let found = wanted.iter().map(|t| values(*t)).collect();
        (found, grads.iter().map(|d| d.map(&mut values)).collect())
    }

    /// Values of `wanted`, and the largest distance of a parameter's gradient from the file's.
    fn compared(
        &mut self,
        golden: &Golden,
        loss: TensorId,
        wanted: &[TensorId],
    ) -> (Vec<Vec<f64>>, f64) {
        let (values, grads) = self.run(golden, loss, wanted, ("", 0.0));
        let mut worst: f64 = 0.0;
        for (p, got) in self.m.params.iter().zip(grads) {
            let Some(mut got) = got else {
                assert!(!p.trained, "{} has no gradient", p.name);
                continue;
            };
            assert!(p.trained, "{} is fixed and has a gradient", p.name);
            let want: Vec<f32> = golden.of(p, "grad").iter().map(|v| *v as f32).collect();
            let want = p.layout.from_file(&self.m.dims(p), want);
            let mut want: Vec<f64> = want.into_iter().map(f64::from).collect();
            if p.name.ends_with("attn.qkv.bias") {
                // The gradient of the keys' bias is zero but for rounding.
                let d = got.len() / 3;
                for v in [&mut got, &mut want] {
                    assert!(v[d..2 * d].iter().all(|x| x.abs() < 1e-6), "{}", p.name);
                    v[d..2 * d].fill(0.0);
                }
            }
            worst = worst.max(relative(&got, &want));
        }
        (values, worst)
    }
}

fn near(name: &str, got: f64, want: f64) {
    let e = (got - want).abs() / want.abs().max(1.0);
    assert!(e < SCALAR, "{name}: {got} {want}");
}

fn mae(golden: &Golden, set: &[&str]) -> (Vec<Vec<f64>>, f64) {
    let mut own = vec!["method.name=mae".to_string()];
    own.extend(set.iter().map(ToString::to_string));
    let c = golden.config(&own);
    let method = Mae::new(&c.recipe(), c.backbone().unwrap().as_ref()).unwrap();
    let mut b = Built::new();
    let (images, noise) = (b.input(golden, "images"), b.input(golden, "noise"));
    let mut net = Net::new(&mut b.g, &mut b.m, Mode::Train);
    let r = method.reconstruct(&mut net, images, noise).unwrap();
    let wanted = [r.loss, r.latent, r.pred, r.target, r.masks.mask];
    b.compared(golden, r.loss, &wanted)
}

#[test]
fn mae_is_pytorchs() {
    let golden = Golden::read("mae_p8_normpix");
    let (got, gradient) = mae(&golden, &[]);
    near("loss", got[0][0], golden.values("loss")[0]);
    for (got, name) in got[1..].iter().zip(["latent", "pred", "target", "mask"]) {
        let e = relative(got, &golden.values(name));
        assert!(e < TENSOR, "{name}: {e}");
    }
    assert!(gradient < TENSOR, "{gradient}");
    // The control: targets as they are.
    let (other, e) = mae(&golden, &["method.norm_pix=false"]);
    assert!((other[0][0] - got[0][0]).abs() > 1e-3 && e > 1e-3, "{e}");
}

/// CAN's graph: the loss, and its terms contrast, reconstruction and noise, the loss again, latent tokens, embeddings
/// and predictions.
fn can(golden: &Golden, set: &[&str]) -> (Built, TensorId, Vec<TensorId>) {
    let c = &golden.config;
    let mut own = vec![
        "method.name=can".to_string(),
        format!("method.target={}", c["target"]),
        format!("method.pool={}", c["pool"]),
        format!("method.noise_to={}", c["noise_to"]),
        format!("method.level_dim={}", c["pe_dims"]),
        format!("method.w_contrast={}", c["w_contrast"]),
        format!("method.w_recon={}", c["w_recon"]),
        format!("method.w_noise={}", c["w_noise"]),
        format!("heads.hidden={}", c["dim"]),
        format!("heads.out={}", c["d"]),
        format!("heads.count={}", c["C"]),
    ];
    if c["amcl"] == true {
        let tau_max = c["eta"].as_f64().unwrap() + c["iota"].as_f64().unwrap();
        own.extend([
            "amcl.enabled=true".to_string(),
            format!("amcl.beta={}", c["beta"]),
            format!("amcl.negatives={}", c["negatives"]),
            format!("amcl.adaptive={}", c["adaptive"]),
            format!("amcl.phi_hidden={}", c["h"]),
            format!("amcl.tau_min={}", c["eta"]),
            format!("amcl.tau_max={tau_max}"),
        ]);
    } else {
        own.push(format!("loss.temperature={}", c["tau"]));
    }
    own.extend(set.iter().map(ToString::to_string));
    let config = golden.config(&own);
    let method = Can::new(&config.recipe(), config.backbone().unwrap().as_ref()).unwrap();
    let mut b = Built::new();
    let names = ["images", "eps", "sigma", "noise"];
    let [images, eps, level, mask] = names.map(|name| b.input(golden, name));
    let mut net = Net::new(&mut b.g, &mut b.m, Mode::Train);
    let dims = net.dims(images).to_vec();
    let rows = net
        .reshape(eps, [dims[0], dims[1] * dims[2] * dims[3]])
        .unwrap();
    let rows = net.push1(RowScale, &[rows, level]).unwrap();
    let noise = net.reshape(rows, dims.as_slice()).unwrap();
    let views = Noised {
        images,
        noise,
        level,
        mask,
    };
    let parts = method.parts(&mut net, views).unwrap();
    let own = method.own(&mut net, &parts).unwrap();
    let out = method.loss(&mut net, &[parts.z]).unwrap();
    let loss = net.add(out.loss, own.loss).unwrap();
    let contrast = out.terms[0].1;
    let wanted = vec![
        contrast,
        parts.reconstruction,
        parts.noise,
        loss,
        parts.latent,
        parts.z,
        parts.pred,
    ];
    (b, loss, wanted)
}

#[test]
fn can_is_pytorchs() {
    // Each with a setting that makes another loss of it.
    for (name, other, moved) in [
        ("can_code", "method.target=clean", 1),
        ("can_clean_normpix", "method.pool=mean_all", 0),
        ("can_amcl_max_c2", "amcl.negatives=softmax", 0),
    ] {
        let golden = Golden::read(name);
        let (mut b, loss, wanted) = can(&golden, &[]);
        let (got, gradient) = b.compared(&golden, loss, &wanted);
        let scalars = ["loss_contrast", "loss_recon", "loss_noise", "loss"];
        for (got, scalar) in got.iter().zip(scalars) {
            near(
                &format!("{name} {scalar}"),
                got[0],
                golden.values(scalar)[0],
            );
        }
        for (got, tensor) in got[4..].iter().zip(["latent", "z", "pred"]) {
            let e = relative(got, &golden.values(tensor));
            assert!(e < TENSOR, "{name} {tensor}: {e}");
        }
        assert!(gradient < TENSOR, "{name}: gradient off by {gradient}");
        let (mut b, loss, wanted) = can(&golden, &[other]);
        let (control, e) = b.compared(&golden, loss, &wanted);
        let by = (control[moved][0] - got[moved][0]).abs();
        // Noise of 0.1 at most is a small change of the target.
        assert!(
            by > 1e-6 && e > 1e-4,
            "{name}: {other} changes nothing: {by} {e}"
        );
    }
}

/// The options that no file has: the noise level goes to all patches, hidden ones too, and the mask token has the
/// encoder's width. The numbers are those of the same formulas in NumPy (float64), which give the file's to 1e-15.
#[test]
fn can_tells_all_patches_of_their_noise() {
    let mut golden = Golden::read("can_code");
    let token = (1..=24).map(|i| f64::from((0.3 * f64::from(i).sin()) as f32));
    golden.mask_token = Some(token.collect());
    let all = "method.noise_to=all_patches";
    for (set, want) in [
        (
            vec![all],
            [
                1.917_383_721_490_865_6,
                1.599_206_381_792_635_6,
                0.198_437_849_247_525_78,
                1.201_128_059_012_955_6,
            ],
        ),
        (
            vec![
                all,
                "method.pool=mean_patches",
                "method.norm_pix=true",
                "method.target=clean",
            ],
            [
                2.026_374_455_634_504_5,
                1.206_122_777_367_879_3,
                0.198_437_849_247_525_78,
                0.937_494_013_632_855_2,
            ],
        ),
    ] {
        let (mut b, loss, wanted) = can(&golden, &set);
        let (got, grads) = b.run(&golden, loss, &wanted[..4], ("", 0.0));
        for (got, want) in got.iter().zip(want) {
            near(&format!("{set:?}"), got[0], want);
        }
        // The gradient, summed over a tensor's numbers, against central differences: h^2 of the third derivative.
        for name in ["mask_token", "noise_pe_mlp.2.bias", "norm.bias"] {
            let at = b.m.params.iter().position(|p| p.file_name == name).unwrap();
            let sum: f64 = grads[at].as_ref().unwrap().iter().sum();
            let h = 1e-4;
            let [up, down] = [h, -h].map(|h| b.run(&golden, loss, &[loss], (name, h)).0[0][0]);
            let difference = (up - down) / (2.0 * h);
            let e = (sum - difference).abs();
            assert!(
                e < 1e-6 * difference.abs().max(1e-2),
                "{name}: {sum} {difference}"
            );
            assert!(sum.abs() > 1e-6, "{name}: {sum}");
        }
    }
}
