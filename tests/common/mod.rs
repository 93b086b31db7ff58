//! What the tests of methods share: a tiny encoder, random numbers, a graph of loss and gradient.

#![allow(dead_code, reason = "every test file uses a part")]

pub mod images;
pub mod packs;
pub mod plain;
pub mod shards;

use amcl_wgpu::graph::host::HostExecutor;
use amcl_wgpu::graph::state::Group;
use amcl_wgpu::graph::{
    Executor, Graph, HostData, ProgramId, StateId, StepScalars, TensorId, TensorType,
};
use amcl_wgpu::methods::loss::LossOutput;
use amcl_wgpu::methods::moco::QUEUE;
use amcl_wgpu::methods::{Batch, Method, spec};
use amcl_wgpu::nn::backbones::family;
use amcl_wgpu::nn::backbones::resnet::{Block, ResNet, Stem};
use amcl_wgpu::nn::{Backbone, Mode, Model, Net};
use amcl_wgpu::ops;
use amcl_wgpu::reference::philox::{Purpose, Stream};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Images of a batch.
pub const B: usize = 4;
/// Side of an image.
pub const SIDE: usize = 8;

/// Two stages of one block, 4 and 8 channels.
pub fn net() -> Arc<dyn Backbone> {
    Arc::new(ResNet {
        block: Block::Basic,
        blocks: vec![1, 1],
        width: 4,
        stem: Stem::Small(1),
        zero_init_residual: false,
    })
}

/// Standard normal numbers.
pub fn normal(n: usize, seed: u64) -> Vec<f64> {
    let mut s = Stream::new(seed, 0, 0, Purpose::Init);
    (0..n).map(|_| f64::from(s.normal())).collect()
}

pub fn random(n: usize, seed: u64) -> HostData {
    HostData::F64(normal(n, seed))
}

pub fn read(exec: &mut dyn Executor, m: &Model, id: StateId) -> Vec<f64> {
    exec.read_state(&m.states, id).unwrap().to_f64()
}

/// Loss and gradient graph with two views as inputs, and gradients of all parameters.
pub struct Step {
    pub g: Graph,
    pub m: Model,
    pub views: [TensorId; 2],
    pub out: LossOutput,
    pub grads: Vec<Option<TensorId>>,
}

pub fn build(method: &dyn Method) -> Step {
    build_of(method, B)
}

/// As [`build`], for batches of `b`.
pub fn build_of(method: &dyn Method, b: usize) -> Step {
    let (mut g, mut m) = (Graph::new(), Model::default());
    let views = [(); 2].map(|()| g.input("view", TensorType::f32([b, SIDE, SIDE, 3])));
    let batch = Batch::of_views(b, views.to_vec());
    let mut net = Net::new(&mut g, &mut m, Mode::Train);
    let out = method.build(&mut net, &batch).unwrap();
    let ids: Vec<StateId> = net.model.params.iter().map(|p| p.id).collect();
    let params: Vec<TensorId> = ids.into_iter().map(|id| net.state(id)).collect();
    let grads = ops::backward(&mut net, out.loss, &params).unwrap();
    method.after_gradient(&mut net, &out).unwrap();
    Step {
        g,
        m,
        views,
        out,
        grads,
    }
}

/// View `i` of a batch of `b`, as [`send`] draws it.
pub fn view(b: usize, seed: u64, i: usize) -> Vec<f64> {
    normal(b * SIDE * SIDE * 3, seed * 2 + i as u64)
}

pub fn send(exec: &mut dyn Executor, b: &Step, program: ProgramId, seed: u64) {
    for (i, v) in b.views.iter().enumerate() {
        let x = view(b.g.dims(*v)[0], seed, i);
        exec.upload(program, *v, &HostData::F64(x)).unwrap();
    }
}

/// A method's graph on the f64 executor, with what its runs give.
pub struct Run {
    encoder: Arc<dyn Backbone>,
    pub b: Step,
    pub exec: HostExecutor<f64>,
    pub program: ProgramId,
    /// The queue as it was at first, which every run begins with.
    pub queue: Option<(StateId, Vec<f64>)>,
}

/// What a run gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    pub loss: f64,
    /// Backbone features of the views that are queries.
    pub features: Vec<Vec<f64>>,
    /// Keys, or the first view's target.
    pub keys: Vec<Vec<f64>>,
    /// Gradients in the parameters' order.
    pub grads: Vec<Vec<f64>>,
}

impl Run {
    /// Of a method whose encoder is [`net`].
    pub fn new(method: &dyn Method, b: usize) -> Self {
        Self::of(method, net(), b)
    }

    pub fn of(method: &dyn Method, encoder: Arc<dyn Backbone>, b: usize) -> Self {
        let b = build_of(method, b);
        let mut exec = HostExecutor::<f64>::new();
        exec.allocate_states(&b.m.states).unwrap();
        let mut fetch = vec![b.out.loss];
        fetch.extend(b.out.features.iter().chain(&b.out.keys));
        fetch.extend(b.out.embedding);
        fetch.extend(b.grads.iter().flatten());
        let program = exec.compile(&b.g, &fetch).unwrap();
        b.m.initialise(&mut exec, 3).unwrap();
        let queue = b.m.states.find(QUEUE, "queue");
        let queue = queue.map(|id| (id, read(&mut exec, &b.m, id)));
        Self {
            encoder,
            b,
            exec,
            program,
            queue,
        }
    }

    /// The states of a group, each moved by a third of itself or so.
    pub fn shake(&mut self, group: Group, seed: u64) {
        let id = self.b.m.states.whole(group).unwrap();
        let values = read(&mut self.exec, &self.b.m, id);
        let by = normal(values.len(), seed);
        let moved = values.iter().zip(by).map(|(v, s)| v * (1.0 + 0.3 * s));
        self.write(group, moved.collect());
    }

    pub fn whole(&mut self, group: Group) -> Vec<f64> {
        let id = self.b.m.states.whole(group).unwrap();
        read(&mut self.exec, &self.b.m, id)
    }

    pub fn write(&mut self, group: Group, values: Vec<f64>) {
        let id = self.b.m.states.whole(group).unwrap();
        let (exec, states) = (&mut self.exec, &self.b.m.states);
        exec.write_state(states, id, &HostData::F64(values))
            .unwrap();
    }

    /// A group's tensors by their parameters' names.
    pub fn named(&mut self, group: Group) -> BTreeMap<String, Vec<f64>> {
        let ids = self.b.m.states.entries(group);
        let ids: Vec<_> = ids.iter().map(|(id, e)| (*id, e.name.clone())).collect();
        let of = |(id, name): (StateId, String)| {
            let values = read(&mut self.exec, &self.b.m, id);
            let name = name
                .trim_start_matches(&format!("{}.", group.name()))
                .to_string();
            (name, values)
        };
        ids.into_iter().map(of).collect()
    }

    /// Runs on these views.
    pub fn on(&mut self, views: [&[f64]; 2]) -> Seen {
        for (t, v) in self.b.views.iter().zip(views) {
            let data = HostData::F64(v.to_vec());
            self.exec.upload(self.program, *t, &data).unwrap();
        }
        if let Some((id, values)) = &self.queue {
            let (states, values) = (&self.b.m.states, HostData::F64(values.clone()));
            self.exec.write_state(states, *id, &values).unwrap();
        }
        self.exec
            .run(self.program, &StepScalars::default())
            .unwrap();
        let (exec, program) = (&mut self.exec, self.program);
        let mut of = |t: &TensorId| exec.fetch(program, *t).unwrap().to_f64();
        let b = &self.b.out;
        Seen {
            loss: of(&b.loss)[0],
            features: b.features.iter().map(&mut of).collect(),
            keys: b.keys.iter().chain(&b.embedding).map(&mut of).collect(),
            grads: self.b.grads.iter().flatten().map(&mut of).collect(),
        }
    }

    /// Backbone features of `images` of a batch, which alone give batch norm its statistics; of the momentum branch
    /// if so asked.
    pub fn features(&mut self, view: &[f64], images: &[usize], branch: bool) -> Vec<f64> {
        let (mut g, mut m) = (Graph::new(), self.b.m.clone());
        let x = g.input("view", TensorType::f32([images.len(), SIDE, SIDE, 3]));
        let mut net = Net::new(&mut g, &mut m, Mode::Train);
        let layers = self.encoder.layers(&mut net);
        let f = net.untracked(|net| match branch {
            true => net.momentum(|net| layers.call(net, x)),
            false => layers.call(net, x),
        });
        let f = f.unwrap().pooled;
        let program = self.exec.compile(&g, &[f]).unwrap();
        let each: Vec<&[f64]> = view.chunks(SIDE * SIDE * 3).collect();
        let part: Vec<f64> = images.iter().flat_map(|i| each[*i].to_vec()).collect();
        self.exec.upload(program, x, &HostData::F64(part)).unwrap();
        self.exec.run(program, &StepScalars::default()).unwrap();
        self.exec.fetch(program, f).unwrap().to_f64()
    }
}

/// A Vision Transformer that a test has time for, as settings.
pub const SMALL_VIT: [&str; 4] = [
    "model.encoder=vit_tiny",
    "model.dim=24",
    "model.depth=3",
    "model.patch=8",
];

/// Settings without those of `method.*` and `model.*` that the method and the encoder they name do not have: one list
/// can serve all of them; without `heads.*` where the method has no heads. A method that needs a Vision Transformer,
/// where no encoder is named, gets [`SMALL_VIT`].
pub fn settings_of<S: AsRef<str>>(set: &[S]) -> Vec<String> {
    let mut all: Vec<&str> = set.iter().map(AsRef::as_ref).collect();
    let name = |all: &[&str], key: &str| {
        let found = all.iter().rev().find_map(|s| s.strip_prefix(key));
        found.map(ToString::to_string)
    };
    let named = name(&all, "method.name=");
    let method = spec(named.as_deref().unwrap_or("simclr")).unwrap();
    if method.needs_vit && !name(&all, "model.encoder=").is_some_and(|e| e.starts_with("vit")) {
        all.extend(SMALL_VIT);
        all.extend([
            "method.decoder_dim=16",
            "method.decoder_depth=1",
            "method.decoder_heads=2",
        ]);
    }
    let encoder = name(&all, "model.encoder=").unwrap_or("resnet18".into());
    let (has_heads, method, encoder) = (method.has_heads, (method.keys)(), encoder.as_str());
    let model = (family(encoder).unwrap().keys)();
    let has = |s: &&&str| {
        let of = |room: &str| s.strip_prefix(room).and_then(|s| s.split_once('='));
        match (of("method."), of("model.")) {
            (Some((key, _)), _) => key == "name" || method.iter().any(|k| k == key),
            (_, Some((key, _))) => {
                ["encoder", "image_size", "sync_bn"].contains(&key)
                    || model.iter().any(|k| k == key)
            }
            _ => has_heads || !s.starts_with("heads."),
        }
    };
    all.iter().filter(has).map(ToString::to_string).collect()
}

/// The L2 norm of a difference over that of `want`.
pub fn relative(got: &[f64], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|x| x * x).sum::<f64>().sqrt();
    norm(&mut got.iter().zip(want).map(|(a, b)| a - b))
        / norm(&mut want.iter().copied()).max(1e-300)
}
