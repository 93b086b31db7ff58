//! Kinds `mae` and `can`: masked autoencoders' tokens, predictions, losses and gradients, by the methods that train.

use super::judge::{Judge, Quantity, distance};
use super::network::{images, in_file, load, vit};
use super::{Computer, Result, Subject, Verified};
use crate::fixture::{Fixture, bad};
use crate::graph::{Graph, HostData, StepScalars, TensorId, TensorType};
use crate::methods::can::{self, Can, NoiseTo, Noised, Pool, Target};
use crate::methods::loss::evaluate::Array;
use crate::methods::loss::{Path, Plain};
use crate::methods::loss_file::LossFile;
use crate::methods::mae::Mae;
use crate::methods::{AllPairs, SplitLoss};
use crate::nn::backbones::vit::{Positions, Vit};
use crate::nn::decoder::Decoder;
use crate::nn::heads::Mlp;
use crate::nn::import::{Named, Weights};
use crate::nn::masking::{self, Masks};
use crate::nn::model::Variable;
use crate::nn::{Mode, Model, Net, Part};
use crate::ops;
use crate::ops::mask_ranks::MaskRanks;
use crate::ops::row_scale::RowScale;
use serde::Deserialize;
use std::collections::BTreeSet;

/// What both kinds have.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sizes {
    #[serde(rename = "B")]
    images: usize,
    img: usize,
    patch: usize,
    dim: usize,
    depth: usize,
    heads: usize,
    mlp: f32,
    dec_dim: usize,
    dec_depth: usize,
    dec_heads: usize,
    ratio: f64,
    norm_pix: bool,
    /// Patches of an image, and how many stay.
    #[serde(rename = "L")]
    patches: Option<usize>,
    keep: Option<usize>,
    ln_eps: Option<f64>,
    target_eps: Option<f64>,
}

/// The keys of [`Sizes`].
const SIZES: &[&str] = &[
    "B",
    "img",
    "patch",
    "dim",
    "depth",
    "heads",
    "mlp",
    "dec_dim",
    "dec_depth",
    "dec_heads",
    "ratio",
    "norm_pix",
    "L",
    "keep",
    "ln_eps",
    "target_eps",
];

/// What CAN has besides.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Own {
    #[serde(rename = "C")]
    heads: usize,
    /// Length of an embedding.
    d: usize,
    pe_dims: usize,
    /// Of plain NT-Xent.
    tau: Option<f64>,
    target: Target,
    pool: Pool,
    #[serde(default)]
    noise_to: NoiseTo,
    w_contrast: f64,
    w_recon: f64,
    w_noise: f64,
    #[serde(default)]
    amcl: bool,
}

/// The keys of [`Own`], of AMCL ([`LossFile::amcl`]) and those that describe.
const OWN: &[&str] = &[
    "C",
    "d",
    "pe_dims",
    "tau",
    "target",
    "pool",
    "noise_to",
    "w_contrast",
    "w_recon",
    "w_noise",
    "amcl",
];
const AMCL: &[&str] = &[
    "beta",
    "negatives",
    "kappa",
    "neg_omega",
    "adaptive",
    "tau_const",
    "include_positive",
    "eta",
    "iota",
    "h",
];
const DESCRIBED: &[&str] = &["seed", "sigma_max"];

impl Sizes {
    fn read(f: &Fixture, further: &[&[&str]]) -> Result<Self> {
        let s: Self = f.config(&[&[DESCRIBED], further].concat().concat())?;
        let as_here = s.ln_eps.is_none_or(|e| e == 1e-6) && s.target_eps.is_none_or(|e| e == 1e-6);
        match as_here {
            true => Ok(s),
            false => Err(bad("config.ln_eps and target_eps: only 1e-6 can be computed").into()),
        }
    }

    fn encoder(&self) -> Result<Vit> {
        let sizes = [self.img, self.patch, self.dim, self.depth, self.heads];
        vit(sizes, self.mlp, Positions::Sincos)
    }

    fn decoder(&self, encoder: &Vit) -> Result<Decoder> {
        let sizes = [self.dec_dim, self.dec_depth, self.dec_heads];
        if sizes.contains(&0) {
            return Err(bad(format!("config: a size of the decoder is 0: {sizes:?}")).into());
        }
        let decoder = Decoder::new(encoder, sizes, self.mlp);
        Ok(decoder.map_err(|e| bad(format!("config: {e}")))?)
    }

    fn keep(&self, encoder: &Vit, judge: &mut Judge<'_>) -> Result<usize> {
        let keep = masking::kept(encoder, self.ratio).map_err(|e| bad(format!("config: {e}")))?;
        let patches = encoder.grid() * encoder.grid();
        for (name, want, ours) in [("keep", self.keep, keep), ("L", self.patches, patches)] {
            if let Some(want) = want {
                judge.differing(&format!("config.{name}"), usize::from(want != ours));
            }
        }
        Ok(keep)
    }
}

/// The graph of a file, its inputs, and the results that it stores.
struct Trial<'a> {
    fixture: &'a Fixture,
    graph: Graph,
    model: Model,
    inputs: Vec<(TensorId, HostData)>,
    /// Scalars and tensors under their names in the file, with PyTorch's own f32 error.
    scalars: Vec<(&'static str, TensorId)>,
    tensors: Vec<(&'static str, TensorId, f64)>,
    /// C where the file has heads.
    heads: usize,
}

impl<'a> Trial<'a> {
    fn new(fixture: &'a Fixture, heads: usize) -> Self {
        Self {
            fixture,
            graph: Graph::new(),
            model: Model::default(),
            inputs: Vec::new(),
            scalars: Vec::new(),
            tensors: Vec::new(),
            heads,
        }
    }

    /// Stored images [n,3,s,s] as an input [n,s,s,3].
    fn images(
        &mut self,
        judge: &mut Judge<'_>,
        name: &str,
        [n, side]: [usize; 2],
    ) -> Result<TensorId> {
        self.fixture.reals(name, &[n, 3, side, side])?;
        judge.read(name);
        let id = self.graph.input(name, TensorType::f32([n, side, side, 3]));
        self.inputs.push((id, images(self.fixture, name, 0, n)?));
        Ok(id)
    }

    /// A stored tensor as an input.
    fn input(&mut self, judge: &mut Judge<'_>, name: &str, shape: &[usize]) -> Result<TensorId> {
        let values = self.fixture.reals(name, shape)?.to_vec();
        judge.read(name);
        let id = self.graph.input(name, TensorType::f32(shape));
        self.inputs.push((id, HostData::F64(values)));
        Ok(id)
    }

    /// What is stored of the masks; `noise` made them.
    fn masks(&mut self, masks: &Masks, noise: TensorId) -> Result<()> {
        // Where all patches stay, they stand in the whole order of their noise.
        let keep = self.graph.dims(noise)[1];
        let all = self.graph.push(MaskRanks { keep }, &[noise])?;
        self.tensors.extend([
            ("mask", masks.mask, 0.0),
            ("ids_restore", masks.rank, 0.0),
            ("ids_keep", masks.kept, 0.0),
            ("ids_shuffle", all[1], 0.0),
        ]);
        Ok(())
    }

    /// Where a variable's values stand in the file behind `param.` or `grad.`: several places, one a head.
    fn places(&self, v: &Variable) -> Vec<String> {
        let name = &v.file_name;
        match v.part {
            Part::Projector => (0..self.heads)
                .map(|c| format!("heads.{c}.{name}"))
                .collect(),
            Part::Temperature => vec![format!("phi.{name}")],
            _ => vec![name.clone()],
        }
    }

    /// The file's weights under the model's names.
    fn weights(&self, judge: &mut Judge<'_>) -> Result<Named> {
        let mut out = Named::new();
        let mut known = BTreeSet::new();
        for v in self.model.variables() {
            let prefix = if v.part == Part::Temperature {
                ""
            } else {
                "param."
            };
            let mut values = Vec::new();
            let shape = v.layout.file_shape(&self.model.dims(v));
            for place in self.places(v) {
                let name = format!("{prefix}{place}");
                let one = if self.heads > 1 && v.part == Part::Projector {
                    &shape[1..]
                } else {
                    &shape[..]
                };
                for value in self.fixture.reals(&name, one)? {
                    let narrow = *value as f32;
                    if f64::from(narrow) != *value {
                        return Err(
                            bad(format!("`{name}` holds weights that are no float32")).into()
                        );
                    }
                    values.push(narrow);
                }
                judge.read(name.clone());
                known.insert(name);
            }
            out.insert(v.name.clone(), Weights { shape, values });
        }
        let weights = self
            .fixture
            .tensors
            .keys()
            .filter(|n| n.starts_with("param.") || n.starts_with("phi."));
        match weights.into_iter().find(|n| !known.contains(*n)) {
            Some(name) => Err(bad(format!("the network has no `{name}`")).into()),
            None => Ok(out),
        }
    }

    /// Computes and compares; the loss is the scalar `loss`.
    fn run(mut self, computer: &Computer, judge: &mut Judge<'_>) -> Result<()> {
        let f = self.fixture;
        let loss = self.scalars.iter().find(|(name, _)| *name == "loss");
        let loss = loss.map(|l| l.1).ok_or_else(|| bad("no loss"))?;
        let g = &mut self.graph;
        let params: Vec<TensorId> = self
            .model
            .params
            .iter()
            .map(|p| g.state(&self.model.states, p.id))
            .collect();
        let gradients = ops::backward(g, loss, &params)?;
        let mut fetched: Vec<TensorId> = self.scalars.iter().map(|s| s.1).collect();
        fetched.extend(self.tensors.iter().map(|t| t.1));
        fetched.extend(gradients.iter().flatten());
        let exec = &mut *computer.executor();
        exec.allocate_states(&self.model.states)?;
        let program = exec.compile(&self.graph, &fetched)?;
        load(&self.model, exec, &self.weights(judge)?)?;
        for (id, data) in &self.inputs {
            exec.upload(program, *id, data)?;
        }
        exec.run(program, &StepScalars::default())?;

        for (name, id) in &self.scalars {
            let got = exec.fetch(program, *id)?.to_f64();
            let want = f.reals(name, &[1])?;
            let guide = f.guide("float32_guide", &format!("{name}_abs"));
            // An absolute error where zero is stored.
            let guide = guide / if want[0] == 0.0 { 1.0 } else { want[0].abs() };
            let bound = judge.bound(f.stored(name)?.dtype, Quantity::Value, guide);
            judge.read(*name);
            judge.add(name, distance(&got, want), bound);
            if *name == "loss" {
                judge.loss(got[0]);
            }
        }
        for (name, id, guide) in &self.tensors {
            let data = exec.fetch(program, *id)?;
            let shape = self.graph.dims(*id);
            match data.as_u32() {
                Some(integers) => judge.equal(name, shape, integers)?,
                None => judge.compare(
                    name,
                    &Array::new(shape, data.to_f64()),
                    Quantity::Value,
                    *guide,
                )?,
            }
        }
        let guide = f.guide("float32_guide", "grad_rel_l2_max");
        for (p, gradient) in self.model.params.iter().zip(&gradients) {
            if !p.trained {
                continue;
            }
            let values = match gradient {
                Some(id) => exec.fetch(program, *id)?.to_f64(),
                None => vec![0.0; self.model.dims(p).iter().product()],
            };
            let got = in_file(&self.model, p, values);
            let places = self.places(p);
            let each = got.values.len() / places.len();
            for (place, part) in places.iter().zip(got.values.chunks(each)) {
                let shape = if places.len() > 1 {
                    &got.shape[1..]
                } else {
                    &got.shape[..]
                };
                let part = Array::new(shape, part.iter().copied());
                judge.compare(&format!("grad.{place}"), &part, Quantity::Gradient, guide)?;
            }
        }
        Ok(())
    }
}

/// Verifies kind `mae`.
pub(super) fn mae(subject: &Subject, computer: &Computer) -> Result<Verified> {
    let f = &subject.fixture;
    let s = Sizes::read(f, &[])?;
    let mut judge = Judge::new(f, computer.grade());
    let encoder = s.encoder()?;
    let method = Mae {
        decoder: s.decoder(&encoder)?,
        keep: s.keep(&encoder, &mut judge)?,
        norm_pix: s.norm_pix,
        encoder,
    };
    let mut trial = Trial::new(f, 0);
    let images = trial.images(&mut judge, "images", [s.images, s.img])?;
    let noise = trial.input(&mut judge, "noise", &[s.images, method.decoder.patches])?;
    let mut net = Net::new(&mut trial.graph, &mut trial.model, Mode::Train);
    let r = method.reconstruct(&mut net, images, noise)?;
    let guide = f.guide("float32_guide", "pred_rel_l2");
    trial.scalars.push(("loss", r.loss));
    trial.tensors = vec![
        ("latent", r.latent, guide),
        ("pred", r.pred, guide),
        ("target", r.target, 0.0),
    ];
    trial.masks(&r.masks, noise)?;
    trial.run(computer, &mut judge)?;
    judge.finish()
}

/// The method of a file.
fn method(f: &Fixture, s: &Sizes, judge: &mut Judge<'_>) -> Result<Can> {
    let own: Own = f.config(&[SIZES, AMCL, DESCRIBED].concat())?;
    let encoder = s.encoder()?;
    let decoder = Decoder {
        mask_before: own.noise_to == NoiseTo::AllPatches,
        ..s.decoder(&encoder)?
    };
    if !own.pe_dims.is_multiple_of(2) || own.pe_dims < 4 || own.heads == 0 || own.d == 0 {
        return Err(bad("config.pe_dims is an even number from 4 on, C and d are above 0").into());
    }
    let [hidden, _] = f.rank("param.heads.0.0.weight")?;
    let amcl = match own.amcl {
        true => {
            let mut amcl = LossFile::of(f).amcl(0.1, true)?;
            if f.tensors.contains_key("phi.0.weight") {
                [amcl.phi_hidden, _] = f.rank("phi.0.weight")?;
            }
            Some(amcl)
        }
        false => None,
    };
    let tau = match (own.tau, own.amcl) {
        (Some(tau), _) if tau > 0.0 => tau,
        (None, true) => 1.0,
        _ => return Err(bad("kind can without amcl needs a config.tau above 0").into()),
    };
    Ok(Can {
        projector: Mlp::plain(own.heads, hidden, own.d),
        keep: s.keep(&encoder, judge)?,
        settings: can::Settings {
            ratio: s.ratio,
            level_dim: own.pe_dims,
            noise_to: own.noise_to,
            target: own.target,
            norm_pix: s.norm_pix,
            pool: own.pool,
            w_contrast: own.w_contrast,
            w_recon: own.w_recon,
            w_noise: own.w_noise,
            ..can::Settings::default()
        },
        amcl,
        temperature: Plain::constant(tau),
        pairs: AllPairs::by(Path::Auto),
        encoder,
        decoder,
    })
}

/// Verifies kind `can`.
pub(super) fn can(subject: &Subject, computer: &Computer) -> Result<Verified> {
    let f = &subject.fixture;
    let s = Sizes::read(f, &[OWN, AMCL])?;
    let mut judge = Judge::new(f, computer.grade());
    let method = method(f, &s, &mut judge)?;
    let mut trial = Trial::new(f, method.projector.heads);
    let n = 2 * s.images;
    let images = trial.images(&mut judge, "images", [n, s.img])?;
    let eps = trial.images(&mut judge, "eps", [n, s.img])?;
    let level = trial.input(&mut judge, "sigma", &[n])?;
    let mask = trial.input(&mut judge, "noise", &[n, method.decoder.patches])?;
    let mut net = Net::new(&mut trial.graph, &mut trial.model, Mode::Train);
    let rows = net.reshape(eps, [n, 3 * s.img * s.img])?;
    let rows = net.push1(RowScale, &[rows, level])?;
    let noise = net.reshape(rows, [n, s.img, s.img, 3])?;
    let views = Noised {
        images,
        noise,
        level,
        mask,
    };
    let parts = method.parts(&mut net, views)?;
    let own = method.own(&mut net, &parts)?;
    let contrast = method.loss(&mut net, &[parts.z])?;
    let loss = net.add(contrast.loss, own.loss)?;
    let unweighed = contrast.terms.first().ok_or_else(|| bad("no contrast"))?.1;
    let guide = f.guide("float32_guide", "pred_rel_l2");
    trial.scalars = vec![
        ("loss_contrast", unweighed),
        ("loss_recon", parts.reconstruction),
        ("loss_noise", parts.noise),
        ("loss", loss),
    ];
    trial.tensors = vec![
        ("latent", parts.latent, guide),
        ("z", parts.z, guide),
        ("pred", parts.pred, guide),
    ];
    trial.masks(&parts.masks, mask)?;
    trial.run(computer, &mut judge)?;
    judge.finish()
}
