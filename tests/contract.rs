//! The method's contract serves what no method here has yet: a masked autoencoder in miniature, with an encoder that
//! has tokens, one view, a mask drawn for every sample, ids on the device, images fetched when they are needed, and a
//! batch that several ranks share. It lives in this file alone; the library knows nothing of it.

use crate::common;

use amcl_wgpu::comm::{Comm, World, threads};
use amcl_wgpu::config::Config;
use amcl_wgpu::data::packed::{Images, Packed, pack};
use amcl_wgpu::data::{Dataset, shapes};
use amcl_wgpu::graph::host::HostExecutor;
use amcl_wgpu::graph::{Executor, Result, StepScalars, TensorId};
use amcl_wgpu::methods::draws::Distribution;
use amcl_wgpu::methods::loss::LossOutput;
use amcl_wgpu::methods::{Batch, Draws, Method, Numbers, Views};
use amcl_wgpu::nn::backbones::Card;
use amcl_wgpu::nn::layers::Linear;
use amcl_wgpu::nn::model::PARAMS;
use amcl_wgpu::nn::{Backbone, Features, Model, Net, Network, Part};
use amcl_wgpu::ops::add::Add;
use amcl_wgpu::ops::global_avg_pool::GlobalAvgPool;
use amcl_wgpu::ops::mul::Mul;
use amcl_wgpu::ops::reshape::Reshape;
use amcl_wgpu::ops::row_scale::RowScale;
use amcl_wgpu::ops::scale::Scale;
use amcl_wgpu::ops::sum_all::SumAll;
use amcl_wgpu::ops::swap_axes::SwapAxes;
use amcl_wgpu::train::gradient::Gradient;
use amcl_wgpu::train::optimizer::GRADS;
use common::relative;
use std::cell::RefCell;
use std::sync::Mutex;
use std::time::Duration;

const SIDE: usize = 8;
const PATCH: usize = 4;
const TOKENS: usize = (SIDE / PATCH) * (SIDE / PATCH);
/// Values of a patch.
const VALUES: usize = PATCH * PATCH * 3;
const WIDTH: usize = 6;
const BATCH: usize = 4;

/// Images [n,8,8,3] as patches [n 4, 48].
fn patches(net: &mut Net<'_>, images: TensorId) -> Result<TensorId> {
    let n = net.dims(images)[0];
    // Rows of a patch stand apart by a row of the image.
    let op = SwapAxes {
        axes: [n * SIDE / PATCH, PATCH, SIDE / PATCH, PATCH * 3],
        out: [n * TOKENS, VALUES].into(),
    };
    net.push1(op, &[images])
}

/// One linear layer on patches.
#[derive(Debug)]
struct Tokens;

impl Backbone for Tokens {
    fn width(&self) -> usize {
        WIDTH
    }
    fn depth(&self) -> usize {
        1
    }
    fn layers(&self, net: &mut Net<'_>) -> Box<dyn Network> {
        Box::new(Embedding(Linear::new(net, "patch_embed", [WIDTH, VALUES])))
    }
    fn card(&self) -> Card {
        Card {
            architecture: None,
            arguments: serde_json::Value::Null,
            first_conv: "patch_embed",
            classifier: "head",
            network: serde_json::json!({"patch": PATCH}),
        }
    }
}

/// The layer as a network.
struct Embedding(Linear);

impl Network for Embedding {
    fn call(&self, net: &mut Net<'_>, images: TensorId) -> Result<Features> {
        let n = net.dims(images)[0];
        let x = patches(net, images)?;
        let tokens = self.0.call(net, x)?;
        let grid = [n, SIDE / PATCH, SIDE / PATCH, WIDTH].into();
        let grid = net.push1(Reshape { shape: grid }, &[tokens])?;
        let shape = [n, TOKENS, WIDTH].into();
        Ok(Features {
            pooled: net.push1(GlobalAvgPool, &[grid])?,
            tokens: Some(net.push1(Reshape { shape }, &[tokens])?),
        })
    }
}

/// Tokens times a number drawn for each, decoded to their patches: the squared error, weighed with the same number,
/// as a mean over images.
struct Masked {
    encoder: Tokens,
    /// What the graph was built for.
    seen: Mutex<Option<Batch>>,
}

impl Method for Masked {
    fn encoder(&self) -> &dyn Backbone {
        &self.encoder
    }

    fn draws(&self) -> Draws {
        Draws {
            views: Views::One,
            numbers: vec![Numbers {
                name: "mask",
                each: TOKENS,
                distribution: Distribution::Uniform(0.0, 1.0),
            }],
            ids: true,
            ..Draws::views(Views::One)
        }
    }

    fn build(&self, net: &mut Net<'_>, batch: &Batch) -> Result<LossOutput> {
        let encoder = net.part(Part::Encoder, |net| self.encoder.layers(net));
        let decoder = net.part(Part::Decoder, |net| Linear::new(net, "0", [VALUES, WIDTH]));
        let rows = batch.images * TOKENS;
        let flat = |net: &mut Net<'_>, t, shape: &[usize]| {
            let shape = shape.into();
            net.push1(Reshape { shape }, &[t])
        };
        let target = patches(net, batch.views[0])?;
        let f = encoder.call(net, batch.views[0])?;
        let tokens = flat(net, f.tokens.expect("tokens"), &[rows, WIDTH])?;
        let mask = flat(net, batch.numbers[0], &[rows])?;
        let kept = net.push1(RowScale, &[tokens, mask])?;
        let decoded = decoder.call(net, kept)?;
        let minus = net.push1(Scale { factor: -1.0 }, &[target])?;
        let error = net.push1(Add, &[decoded, minus])?;
        let squared = net.push1(Mul, &[error, error])?;
        let weighed = net.push1(RowScale, &[squared, mask])?;
        let sum = net.push1(SumAll, &[weighed])?;
        let factor = 1.0 / batch.images as f64;
        *self.seen.lock().unwrap() = Some(batch.clone());
        Ok(LossOutput::of_loss(net.push1(Scale { factor }, &[sum])?))
    }
}

/// Images that are made when they are asked for, and what was asked for.
struct Late {
    whole: Dataset,
    asked: RefCell<Vec<u32>>,
}

impl Images for Late {
    fn packed(&self, ids: &[u32]) -> amcl_wgpu::data::Result<Packed> {
        self.asked.borrow_mut().extend(ids);
        pack(&self.whole, ids)
    }
}

fn config(parts: usize) -> Config {
    let set = [
        format!("model.image_size={SIDE}"),
        format!("optim.batch_size={BATCH}"),
        format!("optim.micro_batches={parts}"),
        "augment.families=''".into(),
        "run.seed=5".into(),
    ];
    Config::parse("", &set).unwrap()
}

fn images() -> Dataset {
    let whole = shapes::generate(3, 16, 4).train;
    // The top left corner of each.
    let mut small = Dataset::empty(SIDE, SIDE);
    for i in 0..whole.len() {
        for row in whole.image(i).unwrap().chunks(whole.width * 3).take(SIDE) {
            small.images.extend(&row[..SIDE * 3]);
        }
    }
    small
}

/// What a step gives.
struct Seen {
    loss: f64,
    gradient: Vec<f64>,
    weights: [Vec<f64>; 4],
    asked: Vec<u32>,
}

/// A rank's step on the samples `ids`.
fn step(config: &Config, world: World, ids: &[u32], epoch: u32) -> Seen {
    let method = Masked {
        encoder: Tokens,
        seen: Mutex::new(None),
    };
    let mut model = Model::default();
    let mut g = Gradient::of_rank(config, &method, &mut model, (SIDE, SIDE), None, world).unwrap();
    let grads = model.states.mirror(PARAMS, GRADS);
    g.collect(&model).unwrap();
    let built = method.seen.lock().unwrap().clone().unwrap();
    assert!(built.ids.is_some());
    let mut exec = HostExecutor::<f64>::new();
    exec.allocate_states(&model.states).unwrap();
    let g = g.compile(&mut exec).unwrap();
    model.initialise(&mut exec, 5).unwrap();
    let late = Late {
        whole: images(),
        asked: RefCell::default(),
    };
    let scalars = StepScalars {
        epoch,
        ..StepScalars::default()
    };
    let started = g.start(&mut exec, config, (&late, ids), &scalars).unwrap();
    let (loss, _) = started.collect(&mut exec).unwrap();
    assert!(g.out.pairs.is_none(), "nothing is compared");
    let mut read = |id| exec.read_state(&model.states, id).unwrap().to_f64();
    let names = [
        "patch_embed.weight",
        "patch_embed.bias",
        "decoder.0.weight",
        "decoder.0.bias",
    ];
    let weights = names.map(|name| read(model.states.find(PARAMS, name).unwrap()));
    Seen {
        loss,
        gradient: read(grads),
        weights,
        asked: late.asked.into_inner(),
    }
}

/// The loss of one image, written out.
fn by_hand(w: &[Vec<f64>; 4], id: u32, epoch: u32, config: &Config) -> f64 {
    let a = &config.augment;
    let data = images();
    let image = data.image(id as usize).unwrap();
    let pixel = |y: usize, x: usize, c: usize| {
        let byte = f64::from(image[(y * SIDE + x) * 3 + c]) / 255.0;
        (byte - f64::from(a.mean[c])) / f64::from(a.std[c])
    };
    let numbers = &Method::draws(&Masked {
        encoder: Tokens,
        seen: Mutex::new(None),
    })
    .numbers[0];
    let mask = numbers.draw(0, 1, &[id], (5, epoch));
    let mut loss = 0.0;
    for (t, m) in mask.iter().map(|m| f64::from(*m)).enumerate() {
        let (top, left) = (t / (SIDE / PATCH) * PATCH, t % (SIDE / PATCH) * PATCH);
        let patch: Vec<f64> = (0..VALUES)
            .map(|v| pixel(top + v / (PATCH * 3), left + v / 3 % PATCH, v % 3))
            .collect();
        let linear = |x: &[f64], w: &[f64], b: &[f64]| -> Vec<f64> {
            let row =
                |k: usize| -> f64 { x.iter().zip(&w[k * x.len()..]).map(|(x, w)| x * w).sum() };
            (0..b.len()).map(|k| row(k) + b[k]).collect()
        };
        let token: Vec<f64> = linear(&patch, &w[0], &w[1]).iter().map(|v| v * m).collect();
        let decoded = linear(&token, &w[2], &w[3]);
        let error: f64 = decoded
            .iter()
            .zip(&patch)
            .map(|(a, b)| (a - b).powi(2))
            .sum();
        loss += m * error;
    }
    loss
}

/// f64, but for pixels, which the augmentation's twin makes with f32 constants (mean, deviation): relative errors of
/// 1e-7, squared and summed.
const BOUND: f64 = 1e-5;

#[test]
fn a_masked_autoencoder_trains_on_what_was_drawn_for_its_samples() {
    let ids = [3, 9, 0, 12];
    let c = config(1);
    let seen = step(&c, World::default(), &ids, 2);
    let want = |epoch| {
        ids.iter()
            .map(|id| by_hand(&seen.weights, *id, epoch, &c))
            .sum::<f64>()
            / 4.0
    };
    assert!(
        (seen.loss - want(2)).abs() < BOUND * seen.loss,
        "{} {}",
        seen.loss,
        want(2)
    );
    // The control: another epoch's numbers.
    assert!((seen.loss - want(3)).abs() > 1e-2 * seen.loss);
    assert!(seen.gradient.iter().any(|v| v.abs() > 1e-3));
    // Images are fetched by their ids, once a step, and no others.
    assert_eq!(seen.asked, ids);
}

#[test]
fn a_sample_s_draws_do_not_depend_on_place_part_or_rank() {
    let ids = [3, 9, 0, 12];
    let whole = step(&config(1), World::default(), &ids, 2);
    let turned = step(&config(1), World::default(), &[12, 0, 9, 3], 2);
    let parts = step(&config(2), World::default(), &ids, 2);
    for (name, other) in [("order", &turned), ("micro-batches", &parts)] {
        // Sums in another order.
        assert!(
            (other.loss - whole.loss).abs() < 1e-12 * whole.loss,
            "{name}"
        );
        assert!(relative(&other.gradient, &whole.gradient) < 1e-12, "{name}");
    }
    // Two ranks with half of the batch each: the loss is a mean over images, so the mean of the ranks' gradients is
    // the whole's.
    let mut half = config(1);
    half.dist.ranks = 2;
    let worlds = threads::ranks(2)
        .into_iter()
        .map(|c| World::new(Duration::from_secs(9), || Ok(Box::new(c) as Box<dyn Comm>)).unwrap());
    let ranks: Vec<Seen> = worlds
        .zip(ids.chunks(2))
        .map(|(world, own)| step(&half, world, own, 2))
        .collect();
    let [a, b] = &ranks[..] else {
        unreachable!("two ranks");
    };
    let mean: Vec<f64> = a
        .gradient
        .iter()
        .zip(&b.gradient)
        .map(|(a, b)| 0.5 * (a + b))
        .collect();
    assert!(relative(&mean, &whole.gradient) < 1e-12);
    // The control: one rank alone.
    assert!(relative(&a.gradient, &whole.gradient) > 1e-2);
}
