//! What the kinds of networks share: four files, weights in and out, gradients in the files' layouts.

use super::judge::{Judge, Quantity};
use super::{Result, Subject, VerifyError};
use crate::fixture::{Fixture, Values, bad};
use crate::graph::state::Group;
use crate::graph::{Executor, HostData, StateId};
use crate::methods::loss::evaluate::Array;
use crate::nn::Model;
use crate::nn::backbones::vit::{FAMILY, Positions, Vit};
use crate::nn::import::{Named, Weights, import};
use crate::nn::model::Variable;
use crate::settings::Numbers;
use std::path::{Path, PathBuf};

/// What follows a network's name in the names of its files.
pub(super) const PARTS: [&str; 4] = ["init", "io", "grads", "after"];

/// A network's files.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The files' path up to what follows the network's name.
    pub name: PathBuf,
    /// The weights at the start.
    pub init: Fixture,
    /// Batches and what comes out.
    pub io: Fixture,
    /// The first batch's gradients.
    pub grads: Fixture,
    /// The weights after the steps.
    pub after: Fixture,
}

/// The stem of a kind's name, where it is a network's, and the part that this file is.
pub(super) fn part_of(kind: &str) -> Option<(&str, &str)> {
    let (stem, part) = kind.rsplit_once('_')?;
    (stem.ends_with("network") && PARTS.contains(&part)).then_some((stem, part))
}

impl Parts {
    /// Reads the siblings of one of a network's files.
    pub(super) fn beside(path: &Path, fixture: &Fixture, kind: (&str, &str)) -> Result<Self> {
        let (stem, part) = kind;
        let file = path
            .file_stem()
            .and_then(|s| s.to_str())
            .unwrap_or_default();
        let Some(name) = file.strip_suffix(&format!("_{part}")) else {
            return Err(bad(format!(
                "kind {stem}_{part} stands in four files, which are found by their names: this one's must end with \
                 `_{part}`"
            ))
            .into());
        };
        let read = |part: &str| {
            let sibling = path.with_file_name(format!("{name}_{part}.safetensors"));
            let bytes =
                std::fs::read(&sibling).map_err(|e| VerifyError::Read(sibling.clone(), e))?;
            let found =
                Fixture::parse(&bytes).map_err(|e| bad(format!("{}: {e}", sibling.display())))?;
            let same = found.meta["config"] == fixture.meta["config"];
            match found.kind == format!("{stem}_{part}") && same {
                true => Ok(found),
                false => Err(VerifyError::from(bad(format!(
                    "{} is of kind {}, {} config: no part of this network",
                    sibling.display(),
                    found.kind,
                    if same { "of the same" } else { "of another" },
                )))),
            }
        };
        Ok(Self {
            name: path.with_file_name(name),
            init: read("init")?,
            io: read("io")?,
            grads: read("grads")?,
            after: read("after")?,
        })
    }
}

impl Subject {
    /// The four files of a network.
    pub(super) fn parts(&self) -> Result<&Parts> {
        let parts = self.parts.as_deref();
        Ok(parts.ok_or_else(|| bad("a network's other files are missing"))?)
    }
}

/// Tensors of float32 under the names that `name` makes of those in the file, none for those that are no weights.
pub(super) fn weights(f: &Fixture, name: impl Fn(&str) -> Option<String>) -> Result<Named> {
    let mut out = Named::new();
    for (stored, tensor) in &f.tensors {
        let Some(name) = name(stored) else { continue };
        if matches!(tensor.values, Values::Integer(_)) {
            // PyTorch counts batches.
            continue;
        }
        let values = f.reals(stored, &tensor.shape)?;
        let narrow: Vec<f32> = values.iter().map(|v| *v as f32).collect();
        if narrow.iter().zip(values).any(|(a, b)| f64::from(*a) != *b) {
            return Err(bad(format!("`{stored}` holds weights that are no float32")).into());
        }
        let weights = Weights {
            shape: tensor.shape.clone(),
            values: narrow,
        };
        out.insert(name, weights);
    }
    Ok(out)
}

/// Sets all of a model's variables.
///
/// # Errors
/// Weights that the file lacks, or has beyond the model's, or of another shape.
pub(super) fn load(model: &Model, exec: &mut dyn Executor, weights: &Named) -> Result<()> {
    let report = import(model, exec, weights)?;
    match report.missing.is_empty() && report.unused.is_empty() && report.mismatched.is_empty() {
        true => Ok(()),
        false => Err(bad(format!(
            "weights do not fit the network: {}",
            report.summary()
        ))
        .into()),
    }
}

/// A number of `config` as a setting, which is an f32.
///
/// # Errors
/// It has more digits than that holds.
pub(super) fn narrow(key: &str, value: f64) -> Result<f32> {
    let setting = value as f32;
    match setting.numbers()[0] == value {
        true => Ok(setting),
        false => Err(bad(format!(
            "config.{key} {value} has more digits than a setting holds"
        ))
        .into()),
    }
}

/// A Vision Transformer: side of the images, side of a patch, width, blocks, heads.
///
/// # Errors
/// Sizes that do not go together.
pub(super) fn vit(sizes: [usize; 5], mlp_ratio: f32, positions: Positions) -> Result<Vit> {
    let [image, patch, dim, depth, heads] = sizes;
    if sizes.contains(&0) {
        return Err(bad(format!("config: a size of the network is 0: {sizes:?}")).into());
    }
    let mut table = toml::Table::new();
    for (key, value) in [
        ("patch", patch),
        ("dim", dim),
        ("depth", depth),
        ("heads", heads),
    ] {
        table.insert(key.into(), (value as i64).into());
    }
    let words = match positions {
        Positions::Sincos => "sincos",
        Positions::Learned => "learned",
    };
    table.insert("positions".into(), words.into());
    table.insert("mlp_ratio".into(), f64::from(mlp_ratio).into());
    // All that a run's settings are held to.
    let settings = (FAMILY.complete)(&table).map_err(|e| bad(format!("config: {e}")))?;
    let built = (FAMILY.build)("vit_tiny", &settings, image);
    let built = built.map_err(|e| bad(format!("config: {e}")))?;
    Ok(built
        .vit()
        .cloned()
        .ok_or_else(|| bad("no Vision Transformer"))?)
}

/// The values of a state in the layout of files.
pub(super) fn in_file(model: &Model, v: &Variable, values: Vec<f64>) -> Array {
    let dims = model.dims(v);
    let shape = v.layout.file_shape(&dims);
    Array::new(&shape, v.layout.to_file(&dims, values))
}

/// Compares the entries of `group` that belong to a model's parameters with the tensors that `name` names.
pub(super) fn compare_group(
    judge: &mut Judge<'_>,
    model: &Model,
    exec: &mut dyn Executor,
    (group, guide): (Group, f64),
    name: impl Fn(&Variable) -> Option<String>,
) -> Result<()> {
    for p in &model.params {
        let Some(name) = name(p) else { continue };
        let id: StateId = model
            .states
            .counterpart(p.id, group)
            .ok_or_else(|| bad(format!("`{name}` is not kept")))?;
        let values = exec.read_state(&model.states, id)?.to_f64();
        let got = in_file(model, p, values);
        judge.compare(&name, &got, Quantity::Gradient, guide)?;
    }
    Ok(())
}

/// Stored images [..,3,s,s], from the `first` on, `count` of them, as [count,s,s,3].
pub(super) fn images(f: &Fixture, name: &str, first: usize, count: usize) -> Result<HostData> {
    let shape = &f.stored(name)?.shape;
    let &[.., channels, height, width] = &shape[..] else {
        return Err(bad(format!("`{name}` has shape {shape:?}, no images")).into());
    };
    let plane = height * width;
    let each = channels * plane;
    let all = f.reals(name, shape)?;
    let Some(part) = all.get(first * each..(first + count) * each) else {
        let found = all.len() / each.max(1);
        return Err(bad(format!(
            "`{name}` has {found} images, not {}",
            first + count
        ))
        .into());
    };
    let at = |i: usize| {
        let (image, pixel, channel) = (i / each, i / channels % plane, i % channels);
        part[image * each + channel * plane + pixel]
    };
    Ok(HostData::F64((0..part.len()).map(at).collect()))
}
