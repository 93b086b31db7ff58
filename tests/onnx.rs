//! Every op's form in ONNX, in a graph that mixes images and tokens. What is written here is read by onnxruntime in
//! tests/outside; how models are made up is tested in `src/export/onnx`.

use amcl_wgpu::export::onnx;
use amcl_wgpu::graph::host::HostExecutor;
use amcl_wgpu::graph::onnx::BATCH;
use amcl_wgpu::graph::{
    Executor, Graph, HostData, Result, StateId, States, StepScalars, TensorId, TensorType,
};
use amcl_wgpu::nn::import::Weights;
use amcl_wgpu::nn::model::PARAMS;
use amcl_wgpu::ops::add::Add;
use amcl_wgpu::ops::add_rows::AddRows;
use amcl_wgpu::ops::attention::Attention;
use amcl_wgpu::ops::batch_norm::BatchNormInference;
use amcl_wgpu::ops::concat_tokens::ConcatTokens;
use amcl_wgpu::ops::conv2d::Conv2d;
use amcl_wgpu::ops::gelu::Gelu;
use amcl_wgpu::ops::gemm::Gemm;
use amcl_wgpu::ops::layer_norm::LayerNorm;
use amcl_wgpu::ops::max_pool::MaxPool;
use amcl_wgpu::ops::mul::Mul;
use amcl_wgpu::ops::relu::Relu;
use amcl_wgpu::ops::reshape::Reshape;
use amcl_wgpu::ops::scale::Scale;
use amcl_wgpu::ops::slice_tokens::SliceTokens;
use amcl_wgpu::ops::swap_axes::SwapAxes;
use amcl_wgpu::reference::philox::{Purpose, Stream};
use std::collections::BTreeMap;

const IMAGES: usize = 3;
const SIDE: usize = 9;

/// A graph for `n` images and its states.
struct Net {
    g: Graph,
    states: States,
    n: usize,
}

impl Net {
    fn weight(&mut self, name: &str, shape: &[usize]) -> TensorId {
        let id = self.states.add(PARAMS, name, TensorType::f32(shape));
        self.g.state(&self.states, id)
    }

    fn reshape(&mut self, x: TensorId, shape: &[usize]) -> Result<TensorId> {
        let shape = shape.into();
        self.g.push1(Reshape { shape }, &[x])
    }

    /// x, read as `axes`, with the middle two exchanged.
    fn swap(&mut self, x: TensorId, axes: [usize; 4], out: &[usize]) -> Result<TensorId> {
        let out = out.into();
        self.g.push1(SwapAxes { axes, out }, &[x])
    }

    fn batch_norm(
        &mut self,
        name: &str,
        x: TensorId,
        residual: Option<TensorId>,
    ) -> Result<TensorId> {
        let c = *self.g.dims(x).last().unwrap();
        let vectors = ["weight", "bias", "running_mean", "running_var"];
        let mut inputs = vec![x];
        inputs.extend(vectors.map(|v| self.weight(&format!("{name}.{v}"), &[c])));
        inputs.extend(residual);
        let op = BatchNormInference {
            eps: 1e-5,
            relu: true,
            residual: residual.is_some(),
        };
        self.g.scope(name, |g| g.push1(op, &inputs))
    }

    /// Convolutions and a pooling, [n,9,9,3] -> [n,4,4,6], with a residual.
    fn images(&mut self, x: TensorId) -> Result<TensorId> {
        let w = self.weight("conv1.weight", &[6, 3, 3, 3]);
        let conv = |stride, padding| Conv2d { stride, padding };
        let x = self.g.push1(conv(1, 0), &[x, w])?;
        let x = self.batch_norm("bn1", x, None)?;
        let pool = MaxPool {
            kernel: 3,
            stride: 2,
            padding: 1,
        };
        let x = self.g.push(pool, &[x])?[0];
        let w = self.weight("conv2.weight", &[6, 1, 1, 6]);
        let y = self.g.push1(conv(1, 0), &[x, w])?;
        self.batch_norm("bn2", y, Some(x))
    }

    /// A block of a Transformer over tokens [n,16,6] and a class token, which is dropped at the end.
    fn block(&mut self, x: TensorId) -> Result<TensorId> {
        let class = self.weight("cls_token", &[1, 6]);
        let x = self.g.push1(ConcatTokens, &[class, x])?;
        let positions = self.weight("pos_embed", &[17, 6]);
        let x = self.g.push1(AddRows, &[x, positions])?;
        let [w, b] = ["norm.weight", "norm.bias"].map(|name| self.weight(name, &[6]));
        let y = self.g.push(LayerNorm::new(1e-6), &[x, w, b])?[0];
        let w = self.weight("qkv.weight", &[1, 18, 6]);
        let b = self.weight("qkv.bias", &[18]);
        let linear = Gemm {
            trans_b: true,
            bias: true,
            ..Gemm::default()
        };
        let y = self.g.push1(linear, &[y, w, b])?;
        let y = self.g.push(Attention::new(6, 2), &[y])?[0];
        let x = self.g.push1(Add, &[x, y])?;
        let x = self.g.push1(Gelu::default(), &[x])?;
        self.g.push1(
            SliceTokens {
                first: 1,
                count: 16,
            },
            &[x],
        )
    }

    /// An attention's products over tokens [n,16,6] -> [n,16,5].
    fn attention(&mut self, x: TensorId) -> Result<TensorId> {
        // A single head's weights lose their axis of one in files.
        let w = self.weight("value.weight", &[1, 5, 6]);
        let b = self.weight("value.bias", &[5]);
        let linear = Gemm {
            trans_b: true,
            bias: true,
            relu: true,
            ..Gemm::default()
        };
        let v = self.g.push1(linear, &[x, w, b])?;
        let pairs = Gemm {
            trans_b: true,
            alpha: 0.25,
            ..Gemm::default()
        };
        let a = self.g.push1(pairs, &[v, v])?;
        let y = self.g.push1(Gemm::default(), &[a, v])?;
        let y = self.g.push1(Scale { factor: 0.125 }, &[y])?;
        let y = self.g.push1(Add, &[y, v])?;
        let gate = self.g.push1(Relu, &[y])?;
        self.g.push1(Mul, &[y, gate])
    }

    /// Heads and products with transposed operands, [n,80] -> [n,13].
    fn heads(&mut self, x: TensorId) -> Result<TensorId> {
        let n = self.n;
        let [w, b] =
            [("fc.weight", &[7, 80][..]), ("fc.bias", &[7])].map(|(s, d)| self.weight(s, d));
        let linear = Gemm {
            trans_b: true,
            bias: true,
            ..Gemm::default()
        };
        let x = self.g.push1(linear, &[x, w, b])?;
        // Two heads of 4, each with a bias of its own: [2,n,4] -> [n,8].
        let [w, b] = [("heads.weight", &[2, 4, 7][..]), ("heads.bias", &[2, 4])]
            .map(|(s, d)| self.weight(s, d));
        let z = self.g.push1(linear, &[x, w, b])?;
        let z = self.swap(z, [1, 2, n, 4], &[n, 8])?;
        // w^T z^T = (z w)^T.
        let turned = self.swap(z, [1, n, 8, 1], &[8, n])?;
        let w = self.weight("turned.weight", &[8, 13]);
        let product = Gemm {
            trans_a: true,
            relu: true,
            ..Gemm::default()
        };
        let y = self.g.push1(product, &[w, turned])?;
        self.swap(y, [1, 13, n, 1], &[n, 13])
    }
}

/// The whole for `n` images: its graph and states, input and output.
fn network(n: usize) -> (Net, TensorId, TensorId) {
    let mut net = Net {
        g: Graph::new(),
        states: States::new(),
        n,
    };
    let images = net.g.input("images", TensorType::f32([n, SIDE, SIDE, 3]));
    let x = net.images(images).unwrap();
    let x = net.reshape(x, &[n, 16, 6]).unwrap();
    let x = net.block(x).unwrap();
    let x = net.attention(x).unwrap();
    let x = net.reshape(x, &[n, 80]).unwrap();
    let y = net.heads(x).unwrap();
    (net, images, y)
}

fn values(name: &str, number: usize, elements: usize) -> Vec<f32> {
    let mut s = Stream::new(5, 0, number as u32, Purpose::Init);
    let value = |_| match name.ends_with("running_var") {
        true => s.range(0.5, 1.5),
        false => 0.5 * s.normal(),
    };
    (0..elements).map(value).collect()
}

/// [n,a,c] -> [n,c,a].
fn channels_first(x: &[f32], a: usize, c: usize) -> Vec<f32> {
    let image = |x: &[f32]| -> Vec<f32> { (0..a * c).map(|i| x[i % a * c + i / a]).collect() };
    x.chunks(a * c).flat_map(image).collect()
}

/// A state in PyTorch's layout.
fn in_file(dims: &[usize], values: Vec<f32>) -> Weights {
    match *dims {
        [k, r, s, c] => Weights {
            shape: vec![k, c, r, s],
            values: channels_first(&values, r * s, c),
        },
        [1, out, inner] => Weights {
            shape: vec![out, inner],
            values,
        },
        _ => Weights {
            shape: dims.to_vec(),
            values,
        },
    }
}

fn weights(states: &States) -> Vec<(StateId, String, Vec<usize>, Vec<f32>)> {
    let entries = states.entries(PARAMS).into_iter().enumerate();
    entries
        .map(|(i, (id, e))| {
            let values = values(&e.name, i, e.ty.elements());
            (id, e.name.clone(), e.ty.dims().to_vec(), values)
        })
        .collect()
}

fn model() -> Vec<u8> {
    let (net, images, features) = network(BATCH);
    let named: BTreeMap<String, Weights> = weights(&net.states)
        .into_iter()
        .map(|(_, name, dims, values)| (name, in_file(&dims, values)))
        .collect();
    onnx::model(&net.g, (images, "images"), (features, "features"), &named).unwrap()
}

#[test]
fn a_model_holds_every_weight_under_its_name_and_is_the_same_each_time() {
    let bytes = model();
    assert_eq!(bytes, model());
    let (net, ..) = network(1);
    for (_, name, ..) in weights(&net.states) {
        let found = bytes.windows(name.len()).any(|w| w == name.as_bytes());
        assert!(found, "{name}");
    }
}

/// Writes `forms.onnx`, and what the twins make of three images (`images.f32`, NCHW, and `features.f32`), into the
/// folder `AMCL_ONNX_FORMS`.
#[test]
#[ignore = "writes the files that tests/outside reads"]
fn writes_what_onnxruntime_reads() {
    let dir = std::env::var("AMCL_ONNX_FORMS").expect("AMCL_ONNX_FORMS is a folder");
    let dir = std::path::Path::new(&dir);
    let (net, images, features) = network(IMAGES);
    let mut exec = HostExecutor::<f64>::new();
    exec.allocate_states(&net.states).unwrap();
    for (id, _, _, values) in weights(&net.states) {
        exec.write_state(&net.states, id, &HostData::F32(values))
            .unwrap();
    }
    let program = exec.compile(&net.g, &[features]).unwrap();
    let pixels = values("images", 1000, IMAGES * SIDE * SIDE * 3);
    exec.upload(program, images, &HostData::F32(pixels.clone()))
        .unwrap();
    exec.run(program, &StepScalars::default()).unwrap();
    let made = exec.fetch(program, features).unwrap().to_f32();
    let bytes = |v: &[f32]| -> Vec<u8> { v.iter().flat_map(|x| x.to_le_bytes()).collect() };
    std::fs::create_dir_all(dir).unwrap();
    std::fs::write(dir.join("forms.onnx"), model()).unwrap();
    let pixels = channels_first(&pixels, SIDE * SIDE, 3);
    std::fs::write(dir.join("images.f32"), bytes(&pixels)).unwrap();
    std::fs::write(dir.join("features.f32"), bytes(&made)).unwrap();
}
