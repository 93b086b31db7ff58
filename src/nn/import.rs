//! Weights from and to PyTorch's names and layouts (`state_dict` in safetensors): convolutions OIHW there, KRSC here.

use super::Model;
use crate::graph::{Executor, HostData, Result, StateId};
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

/// Every parameter and buffer of the model by its name.
fn entries(model: &Model) -> Vec<(String, StateId, Vec<usize>)> {
    ["params", "bn_stats"]
        .iter()
        .flat_map(|group| model.states.entries(group))
        .map(|(id, e)| (e.name.clone(), id, e.ty.dims().to_vec()))
        .collect()
}

/// PyTorch's shape of one of ours: [k,r,s,c] is [k,c,r,s]; a single head [1,out,in] is [out,in].
fn torch_shape(ours: &[usize]) -> Vec<usize> {
    match *ours {
        [k, r, s, c] => vec![k, c, r, s],
        [1, out, inner] => vec![out, inner],
        _ => ours.to_vec(),
    }
}

/// Reorders [k,a,b] blocks to [k,b,a].
fn swap(values: &[f32], a: usize, b: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(values.len());
    for block in values.chunks(a * b) {
        for j in 0..b {
            out.extend((0..a).map(|i| block[i * b + j]));
        }
    }
    out
}

/// Sets every tensor of the model that the file has under the same name and of the right shape.
///
/// # Errors
/// States that are not allocated; device loss.
pub fn import(
    model: &Model,
    exec: &mut dyn Executor,
    file: &BTreeMap<String, Weights>,
) -> Result<Report> {
    let mut report = Report::default();
    for (name, id, ours) in entries(model) {
        let Some(w) = file.get(&name) else {
            report.missing.push(name);
            continue;
        };
        let vector = ours.len() == 2 && ours[0] == 1 && w.shape == ours[1..];
        if w.shape != torch_shape(&ours) && !vector {
            report
                .mismatched
                .push((name, w.shape.clone(), torch_shape(&ours)));
            continue;
        }
        let values = match *ours {
            [_, r, s, c] => swap(&w.values, c, r * s),
            _ => w.values.clone(),
        };
        exec.write_state(&model.states, id, &HostData::F32(values))?;
        report.loaded.push(name);
    }
    model.level_branch(exec)?;
    // PyTorch counts batches; nothing here needs it.
    let known = |n: &String| report.loaded.contains(n) || n.ends_with("num_batches_tracked");
    report.unused = file
        .keys()
        .filter(|n| !known(n) && !report.mismatched.iter().any(|m| m.0 == **n))
        .cloned()
        .collect();
    Ok(report)
}

/// All tensors of the model under PyTorch's names and layouts, from the values of its state groups: `read` gets a group's name and the elements.
pub fn named(
    model: &Model,
    mut read: impl FnMut(&str, std::ops::Range<usize>) -> Vec<f32>,
) -> BTreeMap<String, Weights> {
    let mut out = BTreeMap::new();
    for group in ["params", "bn_stats"] {
        for (_, e) in model.states.entries(group) {
            let values = read(group, e.offset..e.offset + e.ty.elements());
            let ours = e.ty.dims();
            let values = match *ours {
                [_, r, s, c] => swap(&values, r * s, c),
                _ => values,
            };
            let shape = torch_shape(ours);
            out.insert(e.name.clone(), Weights { shape, values });
        }
    }
    out
}

/// [`named`] of what an executor holds.
///
/// # Errors
/// Device loss.
pub fn export(model: &Model, exec: &mut dyn Executor) -> Result<BTreeMap<String, Weights>> {
    let mut whole = BTreeMap::new();
    for group in ["params", "bn_stats"] {
        if let Some(id) = model.states.whole(group) {
            whole.insert(group, exec.read_state(&model.states, id)?.to_f32());
        }
    }
    Ok(named(model, |group, range| {
        whole
            .get(group)
            .map(|v| v[range].to_vec())
            .unwrap_or_default()
    }))
}
