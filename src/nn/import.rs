//! Weights from and to files: names and layouts are those that each variable declares (PyTorch's `state_dict`, in
//! safetensors).

use super::model::{PARAMS, STATISTICS};
use super::{Model, Part};
use crate::graph::state::Group;
use crate::graph::{Executor, HostData, Result};
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

/// The file with the encoder's tensors under the model's names. Code bases put prefixes such as `module.encoder_q.`
/// before them: the prefix is the one under which the file has most of the encoder's names.
///
/// # Errors
/// Two networks in the file, both as complete: names their prefixes.
pub fn without_prefix(model: &Model, file: Named) -> std::result::Result<Named, String> {
    let mut found: BTreeMap<&str, usize> = BTreeMap::new();
    for v in model.variables().filter(|v| v.part == Part::Encoder) {
        let of_name = |n: &'_ String| n.ends_with(&v.file_name);
        for name in file.keys().filter(|n| of_name(n)) {
            let prefix = &name[..name.len() - v.file_name.len()];
            if prefix.is_empty() || prefix.ends_with('.') {
                *found.entry(prefix).or_default() += 1;
            }
        }
    }
    let most = found.values().copied().max().unwrap_or(0);
    let best: Vec<&str> = found
        .iter()
        .filter(|f| *f.1 == most)
        .map(|f| *f.0)
        .collect();
    let prefix = match best[..] {
        [] => String::new(),
        [one] => one.to_string(),
        _ => {
            let quoted: Vec<String> = best.iter().map(|p| format!("`{p}`")).collect();
            return Err(format!(
                "the file holds more than one such network: their names begin with {}; keep one of them in the file",
                quoted.join(" and ")
            ));
        }
    };
    let short = |(name, w): (String, Weights)| match name.strip_prefix(&prefix) {
        Some(rest) if !rest.is_empty() => (rest.to_string(), w),
        _ => (name, w),
    };
    Ok(file.into_iter().map(short).collect())
}

/// Sets every variable of the model that the file has under the same name and with the right shape.
///
/// # Errors
/// States that are not allocated; device loss.
pub fn import(model: &Model, exec: &mut dyn Executor, file: &Named) -> Result<Report> {
    let mut report = Report::default();
    for v in model.variables() {
        let (name, dims) = (v.name.clone(), model.dims(v));
        let Some(w) = file.get(&name) else {
            report.missing.push(name);
            continue;
        };
        let expected = v.layout.file_shape(&dims);
        if w.shape != expected {
            report.mismatched.push((name, w.shape.clone(), expected));
            continue;
        }
        let values = v.layout.from_file(&dims, w.values.clone());
        exec.write_state(&model.states, v.id, &HostData::F32(values))?;
        report.loaded.push(name);
    }
    model.level_momentum_copy(exec)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Graph;
    use crate::nn::backbones::resnet::{ResNet, Stem};
    use crate::nn::{Backbone, Mode, Net};

    fn tiny() -> Model {
        let (mut g, mut m) = (Graph::new(), Model::default());
        let net = ResNet::named("tiny", 4, Stem::Small(1)).unwrap();
        net.layers(&mut Net::new(&mut g, &mut m, Mode::Eval));
        m
    }

    fn file(model: &Model, prefixes: &[&str]) -> Named {
        let values = named(model, |_, range| vec![0.5; range.len()]);
        let each = |p: &&str| {
            let p = p.to_string();
            values
                .iter()
                .map(move |(n, w)| (format!("{p}{n}"), w.clone()))
                .collect::<Vec<_>>()
        };
        prefixes.iter().flat_map(each).collect()
    }

    #[test]
    fn the_prefix_is_where_most_of_the_names_are() {
        let m = tiny();
        for prefix in [
            "",
            "module.encoder_q.",
            "any.words.",
            "state_dict.backbone.",
        ] {
            let mut f = file(&m, &[prefix]);
            f.extend(file(&m, &["other."]).into_iter().take(3));
            let found = without_prefix(&m, f).unwrap();
            let missing = m
                .variables()
                .filter(|v| !found.contains_key(&v.name))
                .count();
            assert_eq!(missing, 0, "{prefix}");
        }
        let e = without_prefix(&m, file(&m, &["encoder_q.", "encoder_k."])).unwrap_err();
        assert!(e.contains("`encoder_k.` and `encoder_q.`"), "{e}");
        // A file of something else stays as it is, for the report to name what it holds.
        let other = Named::from([(
            "fc.weight".to_string(),
            Weights {
                shape: vec![1],
                values: vec![1.0],
            },
        )]);
        assert_eq!(without_prefix(&m, other.clone()).unwrap(), other);
    }
}
