//! From a configuration to the method that it names, and to the model's states.

use super::{Config, ConfigError, Result};
use crate::graph::{Graph, TensorId, TensorType};
use crate::methods::barlow_twins::BarlowTwins;
use crate::methods::byol::Byol;
use crate::methods::loss::macl::Macl;
use crate::methods::loss::{Adaptive, Path, Plain};
use crate::methods::moco::Moco;
use crate::methods::simclr::SimClr;
use crate::methods::simsiam::SimSiam;
use crate::methods::vicreg::VicReg;
use crate::methods::{Halves, Method};
use crate::nn::Model;
use crate::nn::heads::{Last, Mlp};
use crate::nn::resnet::{self, ResNet, Stem};

/// The encoder that a configuration names.
///
/// # Errors
/// An unknown encoder or stem.
pub fn encoder(config: &Config) -> Result<ResNet> {
    let c = &config.model;
    let stem = match c.stem.as_str() {
        "cifar" => Stem::Small(c.stem_stride),
        "imagenet" => Stem::ImageNet,
        other => {
            return Err(ConfigError(format!(
                "no stem `{other}`; there are cifar, imagenet"
            )));
        }
    };
    let mut encoder =
        ResNet::named(&c.encoder, c.width * c.width_multiplier, stem).ok_or_else(|| {
            ConfigError(format!(
                "no encoder `{}`; there are {}",
                c.encoder,
                resnet::NAMES.join(", ")
            ))
        })?;
    encoder.zero_init_residual = c.zero_init_residual;
    Ok(encoder)
}

/// Names in configurations, and for people.
pub const NAMES: [(&str, &str); 6] = [
    ("simclr", "SimCLR"),
    ("moco", "MoCo"),
    ("simsiam", "SimSiam"),
    ("barlow_twins", "Barlow Twins"),
    ("byol", "BYOL"),
    ("vicreg", "VICReg"),
];

/// A method's name for people.
pub fn title(name: &str) -> &str {
    NAMES.iter().find(|n| n.0 == name).map_or(name, |n| n.1)
}

/// What a configuration asks of its method must be possible.
///
/// # Errors
/// Says which setting is not, and what would do.
pub fn check(c: &Config) -> Result<()> {
    let wrong = |m: String| Err(ConfigError(m));
    let (m, a) = (&c.method, &c.amcl);
    if !NAMES.iter().any(|n| n.0 == m.name) {
        let all: Vec<&str> = NAMES.iter().map(|n| n.0).collect();
        return wrong(format!(
            "method.name: no method `{}`; there are {}",
            m.name,
            all.join(", ")
        ));
    }
    if !["plain", "norm", "bare_norm"].contains(&c.heads.last.as_str()) {
        return wrong(format!(
            "heads.last is `{}`; there are plain, norm, bare_norm",
            c.heads.last
        ));
    }
    if c.heads.layers == 0 || c.heads.hidden == 0 || m.predictor_hidden == 0 {
        return wrong(
            "heads.layers, heads.hidden and method.predictor_hidden must be positive".into(),
        );
    }
    let batch = c.optim.batch_size / c.optim.micro_batches;
    match m.name.as_str() {
        "moco" => {
            if m.queue < batch {
                return wrong(format!(
                    "method.queue {} is smaller than a (micro-)batch of {batch}",
                    m.queue
                ));
            }
            if m.bn_splits == 0 || !batch.is_multiple_of(m.bn_splits) || batch / m.bn_splits < 2 {
                return wrong(format!(
                    "a (micro-)batch of {batch} cannot be cut into method.bn_splits = {} groups of at least 2: set it, or optim.batch_size (1 group leaves the leak of batch norm open)",
                    m.bn_splits
                ));
            }
        }
        "byol" | "vicreg" if a.enabled => {
            return wrong(format!(
                "AMCL is not defined for {}; it is for simclr, moco, simsiam and barlow_twins (without it: amcl.enabled = false and heads.count = 1)",
                m.name
            ));
        }
        "simsiam" if a.enabled && a.switches.adaptive == Adaptive::NegativeOnly => {
            return wrong(
                "simsiam has no negatives whose temperature could adapt: amcl.adaptive is full (positive_only is the same here), first_head or none".into(),
            );
        }
        _ => {}
    }
    let path = c.loss.path;
    if path == Path::Stream && !["simclr", "barlow_twins"].contains(&m.name.as_str()) {
        return wrong(format!(
            "loss.path = \"stream\" is for simclr and barlow_twins, whose losses are over all pairs of images or of channels; {} takes auto or matrix",
            m.name
        ));
    }
    loss_path(c).map_err(ConfigError)?;
    scheduled(c).map_err(ConfigError)?;
    let unit = 0.0..=1.0;
    if !unit.contains(&m.momentum) || m.final_momentum > 1.0 {
        return wrong("method.momentum is from 0 to 1".into());
    }
    if !(m.lambda.is_finite() && m.lambda >= 0.0) {
        return wrong(format!("method.lambda is {}", m.lambda));
    }
    for (name, tau) in [
        ("tau_diagonal", m.tau_diagonal),
        ("tau_off_diagonal", m.tau_off_diagonal),
    ] {
        if !(tau.is_finite() && tau > 0.0) {
            return wrong(format!("method.{name} is {tau}, not positive"));
        }
    }
    Ok(())
}

/// The temperature of plain losses with negatives.
fn temperature(c: &Config) -> Plain {
    Plain {
        tau: c.loss.temperature,
        macl: (c.loss.schedule == "macl").then_some(Macl {
            alpha: c.loss.alpha,
            a0: c.loss.alignment,
        }),
    }
}

/// A schedule of the temperature must have a temperature to move: the losses with negatives take theirs from the step (`StepScalars::tau_scale`), unless phi gives it.
fn scheduled(c: &Config) -> std::result::Result<(), String> {
    if c.loss.schedule != "cosine" {
        return Ok(());
    }
    let why = match c.method.name.as_str() {
        "simclr" | "moco" if !c.amcl.enabled => return Ok(()),
        "simclr" | "moco" => match c.amcl.switches.roles() {
            (true, true) => "here phi gives every temperature: set amcl.adaptive to none, positive_only or negative_only, or loss.schedule to constant".into(),
            _ => return Ok(()),
        },
        other => format!("{} has none such: set loss.schedule to constant", title(other)),
    };
    Err(format!(
        "loss.schedule = \"cosine\" moves the constant temperature of simclr and moco; {why}"
    ))
}

/// Is the loss of a (micro-)batch streamed, or in words why it cannot be?
fn loss_path(c: &Config) -> std::result::Result<bool, String> {
    let (streamable, side) = match c.method.name.as_str() {
        "simclr" => {
            let streamable = match c.amcl.enabled {
                true => c.amcl.switches.streamable(),
                false => temperature(c).streamable(),
            };
            // With cached gradients the loss sees the whole batch.
            let o = &c.optim;
            let parts = if o.gradient_cache { 1 } else { o.micro_batches };
            (streamable, 2 * o.batch_size / parts)
        }
        "barlow_twins" => (!c.amcl.enabled || c.amcl.switches.streamable(), c.heads.out),
        _ => return Ok(false),
    };
    c.loss.path.streams(streamable, &[c.heads.count, side])
}

/// Is the loss computed without matrices of all pairs?
pub fn streams(c: &Config) -> bool {
    loss_path(c).unwrap_or(false)
}

/// Heads without batch norm unless asked for, and those of the methods that always have it.
fn head(c: &Config, norm: bool) -> Mlp {
    let h = &c.heads;
    Mlp {
        heads: h.count,
        layers: h.layers,
        hidden: h.hidden,
        out: h.out,
        norm: norm || h.norm,
        last: match h.last.as_str() {
            "norm" => Last::Norm,
            "bare_norm" => Last::BareNorm,
            _ => Last::Plain,
        },
    }
}

/// The method that a configuration names.
///
/// # Errors
/// An unknown encoder, stem or method.
pub fn method(config: &Config) -> Result<Box<dyn Method>> {
    check(config)?;
    let (encoder, m) = (encoder(config)?, &config.method);
    let amcl = config.amcl.enabled.then_some(config.amcl.switches);
    let temperature = temperature(config);
    let predictor = Mlp {
        heads: config.heads.count,
        layers: 2,
        hidden: m.predictor_hidden,
        out: config.heads.out,
        norm: true,
        last: Last::Plain,
    };
    Ok(match m.name.as_str() {
        "moco" => Box::new(Moco {
            encoder,
            head: head(config, false),
            amcl,
            temperature,
            queue: m.queue,
            symmetric: m.symmetric,
            splits: m.bn_splits,
            shuffle: m.shuffle,
            micro_batches: config.optim.micro_batches,
        }),
        "simsiam" => Box::new(SimSiam {
            encoder,
            projector: Mlp {
                heads: if m.shared_target {
                    1
                } else {
                    config.heads.count
                },
                ..head(config, true)
            },
            predictor: m.predictor.then_some(predictor),
            amcl,
        }),
        "barlow_twins" => Box::new(BarlowTwins {
            encoder,
            projector: head(config, true),
            lambda: m.lambda,
            constant: [m.tau_diagonal, m.tau_off_diagonal],
            amcl,
            unit_channels: m.unit_channels,
            path: config.loss.path,
        }),
        "vicreg" => Box::new(VicReg {
            encoder,
            projector: head(config, true),
            weights: m.vicreg,
        }),
        "byol" => Box::new(Byol {
            encoder,
            projector: head(config, true),
            predictor,
        }),
        _ => Box::new(SimClr {
            encoder,
            head: head(config, false),
            amcl,
            temperature,
            path: config.loss.path,
        }),
    })
}

/// The tensors in which a method takes its views of a batch of `batch` images, made by `view` of their rows.
///
/// # Errors
/// What `view` fails with.
pub fn views<E>(
    method: &dyn Method,
    batch: usize,
    mut view: impl FnMut(usize) -> std::result::Result<TensorId, E>,
) -> std::result::Result<Vec<TensorId>, E> {
    if method.apart() {
        return Ok(vec![view(batch)?, view(batch)?]);
    }
    Ok(vec![view(2 * batch)?])
}

/// The halves of a method's loss where the configuration caches gradients.
pub fn cached<'a>(config: &Config, method: &'a dyn Method) -> Option<&'a dyn Halves> {
    let o = &config.optim;
    (o.micro_batches > 1 && o.gradient_cache)
        .then(|| method.halves())
        .flatten()
}

/// The shapes of a configuration's network do not fit each other.
fn shapes(e: crate::graph::GraphError) -> ConfigError {
    ConfigError(e.to_string())
}

/// The states of a configuration's model (parameters, statistics), in the order in which training declares them; nothing is allocated.
///
/// # Errors
/// Shapes that do not fit.
pub fn declare(config: &Config) -> Result<Model> {
    let (mut g, mut model) = (Graph::new(), Model::default());
    let batch = config.optim.batch_size / config.optim.micro_batches;
    let size = config.model.image_size;
    let method = method(config)?;
    let inputs = views(method.as_ref(), batch, |rows| {
        Ok::<_, ConfigError>(g.input("views", TensorType::f32([rows, size, size, 3])))
    })?;
    match cached(config, method.as_ref()) {
        None => drop(method.loss(&mut g, &mut model, &inputs).map_err(shapes)?),
        Some(h) => {
            let parts = config.optim.micro_batches;
            let mut all = Vec::new();
            for t in h.embed(&mut g, &mut model, &inputs).map_err(shapes)?.z {
                let mut dims = g.dims(t).to_vec();
                dims[1] *= parts;
                all.push(g.input("embeddings", TensorType::f32(dims.as_slice())));
            }
            h.loss_of(&mut g, &mut model, &all).map_err(shapes)?;
        }
    }
    Ok(model)
}
