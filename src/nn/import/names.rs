//! Names in files of others: PyTorch's wrappers, and the prefixes that code bases put before a network's names.

use super::{Named, Weights};
use crate::nn::{Model, Part};
use std::collections::{BTreeMap, BTreeSet};

/// What PyTorch's wrappers put between a network's names, wherever they wrap: `torch.compile`, FSDP, checkpointing.
const WRAPPERS: [&str; 4] = [
    "_orig_mod",
    "_fsdp_wrapped_module",
    "_checkpoint_wrapped_module",
    "_forward_module",
];

/// What code bases put before a network's names.
const KNOWN: &[&str] = &[
    "module",
    "model",
    "state_dict",
    "encoder",
    "backbone",
    "trunk",
    "base_model",
    "_feature_blocks",
    "student",
    "teacher",
    "online",
    "target",
    "online_network",
    "target_network",
    "online_encoder",
    "target_encoder",
    "momentum_encoder",
    "momentum_backbone",
    "backbone_momentum",
    "base_encoder",
    "encoder_q",
    "encoder_k",
    "net",
    "network",
    "resnet",
    "visual",
    "features",
];

/// An encoder and its moving average, as MoCo v3's checkpoints hold them: the first is taken. Of other pairs, code
/// bases do not agree on which one is meant.
const AVERAGED: [&str; 2] = ["base_encoder", "momentum_encoder"];

/// Does a prefix consist of words that code bases are known to use, or of none?
fn is_known(prefix: &str) -> bool {
    let mut words = prefix.split('.').filter(|w| !w.is_empty());
    words.all(|w| KNOWN.contains(&w))
}

/// The file's tensors without PyTorch's wrappers, each with its name in the file.
fn unwrapped(file: Named) -> std::result::Result<BTreeMap<String, (String, Weights)>, String> {
    let mut out: BTreeMap<String, (String, Weights)> = BTreeMap::new();
    for (name, w) in file {
        let words: Vec<&str> = name.split('.').filter(|w| !WRAPPERS.contains(w)).collect();
        let short = words.join(".");
        if let Some((other, _)) = out.get(&short) {
            return Err(format!(
                "`{other}` and `{name}` are one tensor, `{short}`, once the wrappers' names are off: keep one of them \
                 in the file"
            ));
        }
        out.insert(short, (name, w));
    }
    Ok(out)
}

/// The prefix under which a file of these names has most of the encoder's.
fn prefix_of(model: &Model, names: &[&String]) -> std::result::Result<String, String> {
    let encoder = || model.variables().filter(|v| v.part == Part::Encoder);
    // Which of the encoder's names stand behind each prefix.
    let mut found: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for v in encoder() {
        for name in names {
            if let Some(prefix) = name.strip_suffix(v.file_name.as_str())
                && (prefix.is_empty() || prefix.ends_with('.'))
            {
                found.entry(prefix).or_default().insert(&v.file_name);
            }
        }
    }
    let most = found.values().map(BTreeSet::len).max().unwrap_or(0);
    let Some((prefix, own)) = found.iter().find(|f| f.1.len() == most) else {
        return Ok(String::new());
    };
    let own_name = |name: &str| {
        let rest = name.strip_prefix(prefix);
        rest.is_some_and(|r| encoder().any(|v| v.file_name == r))
    };
    let [taken, average] = AVERAGED;
    let average = prefix
        .contains(taken)
        .then(|| prefix.replace(taken, average));
    let others = found
        .iter()
        .filter(|f| f.0 != prefix && Some(*f.0) != average.as_deref());
    for (other, theirs) in others {
        // `layer1.0.conv1.weight` ends like the stem's `conv1.weight` and is another tensor of the same network.
        let foreign: Vec<_> = theirs
            .iter()
            .filter(|n| !own_name(&format!("{other}{n}")))
            .collect();
        let shared = foreign.iter().filter(|n| own.contains(**n)).count();
        let another = shared > 0 && (is_known(other) || 2 * shared >= most);
        if another || foreign.len() == most {
            return Err(format!(
                "the file holds more than one such network: their names begin with `{prefix}` and `{other}`; keep one \
                 of them in the file"
            ));
        }
    }
    Ok((*prefix).to_string())
}

/// Refuses values that no network computes with; `name`: the tensor's in the file.
fn sound(name: &str, w: &Weights) -> std::result::Result<(), String> {
    if let Some(at) = w.values.iter().position(|v| !v.is_finite()) {
        let count = w.values.iter().filter(|v| !v.is_finite()).count();
        return Err(format!(
            "`{name}` holds {} at position {at}, and {count} of its {} values are not finite as f32: the network that \
             was saved had diverged, or the file is damaged",
            w.values[at],
            w.values.len()
        ));
    }
    let negative = |v: &f32| name.ends_with("running_var") && *v < 0.0;
    match w.values.iter().position(negative) {
        None => Ok(()),
        Some(at) => Err(format!(
            "`{name}` holds {} at position {at}: a variance is never below zero",
            w.values[at]
        )),
    }
}

/// The file with the encoder's tensors under the model's names. Code bases put prefixes such as `module.encoder_q.`
/// before them: the prefix is the one under which the file has most of the encoder's names. Words that PyTorch's
/// wrappers put anywhere (`_orig_mod.`) are taken off too. Behind a prefix, what would be named as another part of the
/// model (MoCo v3 has its projector at `base_encoder.head`) keeps its name in the file, so that nothing takes it.
///
/// # Errors
/// Two networks in the file, or names that become equal: names their prefixes. A value of one of the model's tensors
/// that is not finite, a variance below zero: names the tensor.
pub fn without_prefix(model: &Model, file: Named) -> std::result::Result<Named, String> {
    let file = unwrapped(file)?;
    let prefix = prefix_of(model, &file.keys().collect::<Vec<_>>())?;
    let own: BTreeMap<&str, Vec<usize>> = model
        .variables()
        .map(|v| (v.name.as_str(), v.layout.file_shape(&model.dims(v))))
        .collect();
    let others = model.variables().filter(|v| v.part != Part::Encoder);
    let others: BTreeSet<&str> = others.map(|v| v.name.as_str()).collect();
    let mut out: BTreeMap<String, (String, Weights)> = BTreeMap::new();
    for (name, (original, w)) in file {
        let short = match name.strip_prefix(&prefix) {
            Some(rest) if !rest.is_empty() && (rest == name || !others.contains(rest)) => {
                rest.to_string()
            }
            _ => name,
        };
        if let Some(shape) = own.get(short.as_str())
            && *shape == w.shape
        {
            sound(&original, &w)?;
        }
        if let Some((other, _)) = out.get(&short) {
            if !own.contains_key(short.as_str()) {
                // Neither is read: each is named as it is in the file.
                out.insert(original.clone(), (original, w));
                continue;
            }
            return Err(format!(
                "`{other}` and `{original}` are one tensor, `{short}`, once the prefix `{prefix}` is off: keep one of \
                 them in the file"
            ));
        }
        out.insert(short, (original, w));
    }
    Ok(out.into_iter().map(|(name, (_, w))| (name, w)).collect())
}

#[cfg(test)]
mod tests {
    use super::super::named;
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

    #[test]
    fn names_that_become_equal_are_refused_and_both_prefixes_named() {
        let m = tiny();
        let both = |a: &str, b: &str, share: usize| {
            let mut f = file(&m, &[a]);
            f.extend(file(&m, &[b]).into_iter().take(share));
            without_prefix(&m, f)
        };
        let all = m.variables().count();
        for (a, b) in [
            ("backbone.", "module."),
            ("", "module."),
            ("student.", "teacher."),
            ("trunk.", "any.words."),
            ("module.encoder_q.", "module.encoder_k."),
        ] {
            let e = both(a, b, all).unwrap_err();
            let named = |p: &str| e.contains(&format!("`{p}`"));
            assert!(named(a) && named(b), "{a} {b}: {e}");
        }
        // A network of which a tensor is missing is another network still; so is one tensor under a known prefix.
        assert!(both("student.", "any.words.", all - 1).is_err());
        assert!(both("module.", "backbone.", 1).is_err());
        assert!(both("module.", "", 1).is_err());
        // The control: some names that other parts of a model have too.
        assert!(both("module.", "decoder.", 3).is_ok());
        // Wrappers stand anywhere in a name.
        let wrapped = |name: &str| name.replace("layer1.", "layer1._orig_mod.");
        let f = file(&m, &["module._orig_mod."]);
        let f: Named = f.into_iter().map(|(n, w)| (wrapped(&n), w)).collect();
        let found = without_prefix(&m, f.clone()).unwrap();
        assert!(m.variables().all(|v| found.contains_key(&v.name)));
        let mut twice = f;
        twice.extend(file(&m, &["module."]));
        let e = without_prefix(&m, twice).unwrap_err();
        assert!(
            e.contains("`module._orig_mod.") && e.contains("`module.bn1.bias`"),
            "{e}"
        );
    }

    #[test]
    fn what_no_network_computes_with_is_refused_by_its_name() {
        let m = tiny();
        let with = |name: &str, at: usize, value: f32| {
            let mut f = file(&m, &["module."]);
            f.get_mut(name).unwrap().values[at] = value;
            without_prefix(&m, f)
        };
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let e = with("module.conv1.weight", 3, value).unwrap_err();
            assert!(
                e.contains("`module.conv1.weight`") && e.contains("position 3"),
                "{e}"
            );
        }
        let e = with("module.bn1.running_var", 1, -0.5).unwrap_err();
        assert!(e.contains("`module.bn1.running_var` holds -0.5"), "{e}");
        // The controls: a mean may be negative, a variance zero; what the model does not read may be anything.
        assert!(with("module.bn1.running_mean", 1, -0.5).is_ok());
        assert!(with("module.bn1.running_var", 1, 0.0).is_ok());
        let mut f = file(&m, &["module."]);
        let w = Weights {
            shape: vec![1],
            values: vec![f32::NAN],
        };
        f.insert("module.fc.bias".into(), w);
        assert!(without_prefix(&m, f).is_ok());
    }
}
