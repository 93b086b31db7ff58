//! Weights from and to files: names and layouts are those that each variable declares (PyTorch's `state_dict`, in
//! safetensors).

mod names;

pub use names::without_prefix;

use super::model::{PARAMS, STATISTICS};
use super::{Backbone, Model, Part};
use crate::graph::state::Group;
use crate::graph::{Executor, HostData, Result};
use serde_json::Value;
use std::collections::BTreeMap;

/// A named tensor as a file holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// Dimensions in PyTorch's order.
    pub shape: Vec<usize>,
    /// Values.
    pub values: Vec<f32>,
}

/// What an import did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Tensors of the model that were set.
    pub loaded: Vec<String>,
    /// Tensors of the model that the file lacks.
    pub missing: Vec<String>,
    /// Tensors of the file that the model lacks.
    pub unused: Vec<String>,
    /// Tensors of another shape: name, the file's, the model's.
    pub mismatched: Vec<(String, Vec<usize>, Vec<usize>)>,
}

impl Report {
    /// What was loaded and what was not, in words; long lists are cut.
    pub fn summary(&self) -> String {
        let list = |names: Vec<String>| match names.len() {
            0 => "none".to_string(),
            n if n > 4 => format!("{n} ({}, ...)", names[..4].join(", ")),
            n => format!("{n} ({})", names.join(", ")),
        };
        let shapes = self
            .mismatched
            .iter()
            .map(|(n, file, ours)| format!("{n} {file:?} for {ours:?}"));
        format!(
            "{} tensors loaded; of the model's, not in the file: {}; of another shape: {}; in the file only: {}",
            self.loaded.len(),
            list(self.missing.clone()),
            list(shapes.collect()),
            list(self.unused.clone())
        )
    }
}

/// Tensors by name, in PyTorch's layouts.
pub type Named = BTreeMap<String, Weights>;

/// What a model starts from.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// Tensors under the names of their file.
    pub tensors: Named,
    /// What stands beside them of the network that they are of ([`super::backbones::Card::network`]), where something
    /// does: weights do not tell everything, such as the number of attention heads.
    pub network: Option<Value>,
}

/// A file's tensors under the model's names, in the form of its encoder: [`without_prefix`], then [`Backbone::adapt`],
/// which tells `note` of what it changes. [`import`] sets the model to them.
///
/// # Errors
/// Two networks in the file, values that are not finite, weights of an encoder of another size: in one line.
pub fn fitting(
    (model, encoder): (&Model, &dyn Backbone),
    source: Source,
    note: &mut dyn FnMut(String),
) -> std::result::Result<Named, String> {
    let mut tensors = without_prefix(model, source.tensors)?;
    encoder.adapt(&mut tensors, source.network.as_ref(), note)?;
    Ok(tensors)
}

/// Sets every variable of the model that the file has under the same name and with the right shape. A decoder's
/// variables are also known by their names in files, without the prefix of the part: those of MAE hold encoder and
/// decoder side by side.
///
/// # Errors
/// States that are not allocated; device loss.
pub fn import(model: &Model, exec: &mut dyn Executor, file: &Named) -> Result<Report> {
    let mut report = Report::default();
    for v in model.variables() {
        let dims = model.dims(v);
        let alone = (v.part == Part::Decoder).then_some(&v.file_name);
        let found = std::iter::once(&v.name).chain(alone);
        let Some((name, w)) = found.filter_map(|n| file.get_key_value(n)).next() else {
            report.missing.push(v.name.clone());
            continue;
        };
        let name = name.clone();
        let expected = v.layout.file_shape(&dims);
        if w.shape != expected {
            report.mismatched.push((name, w.shape.clone(), expected));
            continue;
        }
        let values = v.layout.from_file(&dims, w.values.clone());
        exec.write_state(&model.states, v.id, &HostData::F32(values))?;
        report.loaded.push(name);
    }
    model.level_copies(exec)?;
    // PyTorch counts batches; nothing here needs it.
    let known = |n: &String| report.loaded.contains(n) || n.ends_with("num_batches_tracked");
    report.unused = file
        .keys()
        .filter(|n| !known(n) && !report.mismatched.iter().any(|m| m.0 == **n))
        .cloned()
        .collect();
    Ok(report)
}

/// All variables of the model under their names, in the files' layouts; `read` gets a group of states and a range of
/// its elements.
pub fn named(
    model: &Model,
    mut read: impl FnMut(Group, std::ops::Range<usize>) -> Vec<f32>,
) -> Named {
    let mut out = Named::new();
    for v in model.variables() {
        let (e, dims) = (model.states.entry(v.id), model.dims(v));
        let values = read(
            model.states.group_of(v.id),
            e.offset..e.offset + e.ty.elements(),
        );
        let weights = Weights {
            shape: v.layout.file_shape(&dims),
            values: v.layout.to_file(&dims, values),
        };
        out.insert(v.name.clone(), weights);
    }
    out
}

/// [`named`] of what an executor holds.
///
/// # Errors
/// Device loss.
pub fn export(model: &Model, exec: &mut dyn Executor) -> Result<Named> {
    let mut whole = Vec::new();
    for group in [PARAMS, STATISTICS] {
        if let Some(id) = model.states.whole(group) {
            whole.push((group, exec.read_state(&model.states, id)?.to_f32()));
        }
    }
    Ok(named(model, |group, range| {
        let values = whole.iter().find(|w| w.0 == group);
        values.map(|w| w.1[range].to_vec()).unwrap_or_default()
    }))
}

/// The part of a run's weights that belongs to the encoder, under the names of its files.
pub fn of_encoder(model: &Model, weights: &Named) -> Named {
    let own = model.variables().filter(|v| v.part == Part::Encoder);
    own.filter_map(|v| Some((v.file_name.clone(), weights.get(&v.name)?.clone())))
        .collect()
}
