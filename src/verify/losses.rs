//! Kinds of losses: the loss and the gradients of its inputs ([`LossFile`]).

use super::judge::{Judge, Quantity};
use super::{Computer, Result, Subject, Verified};
use crate::fixture::bad;
use crate::methods::loss::evaluate::Array;
use crate::methods::loss_file::LossFile;

/// Kinds of losses.
pub(super) const KINDS: &[&str] = &[
    "nt_xent",
    "moco",
    "mocov3",
    "macl",
    "simsiam",
    "byol",
    "barlow",
    "vicreg",
    "amcl_ntxent",
    "amcl_moco",
    "amcl_mocov3",
    "amcl_simsiam",
    "amcl_barlow",
];

/// Keys of `config` that a loss file may have: those that mean something, then those that say how the maker drew the
/// embeddings and how large they are.
const KEYS: &[&str] = &[
    "tau",
    "positive_in_denominator",
    "macl_alpha",
    "macl_a0",
    "alpha",
    "a0",
    "weights",
    "lambda",
    "standardize",
    "negatives",
    "kappa",
    "neg_omega",
    "adaptive",
    "tau_const",
    "tau_diagonal",
    "tau_off_diagonal",
    "include_positive",
    "beta",
    "eta",
    "iota",
    "scale",
    "B",
    "C",
    "K",
    "d",
    "h",
    "seed",
    "near",
    "phi_gain",
    "pos_noise",
];

pub(super) fn verify(subject: &Subject, computer: &Computer) -> Result<Verified> {
    let f = &subject.fixture;
    let config = f.meta["config"].as_object();
    let mut keys = config.into_iter().flat_map(|c| c.keys());
    if let Some(key) = keys.find(|k| !KEYS.contains(&k.as_str())) {
        return Err(bad(format!("config.{key} is no setting of kind {}", f.kind)).into());
    }
    let file = LossFile::of(f);
    let computed = file.evaluate(computer.executor().as_mut())?;
    let mut judge = Judge::new(f, computer.grade());
    judge.loss(computed.loss);
    let loss = Array::new(&[1], [computed.loss]);
    judge.compare("loss", &loss, Quantity::Value, file.guide.0)?;
    for (input, got) in &computed.gradients {
        let name = format!("grad.{input}");
        if f.tensors.contains_key(&name) {
            judge.compare(&name, got, Quantity::Gradient, file.guide.1)?;
        }
    }
    let left = file.not_stored(&computed);
    if !left.is_empty() {
        judge.note(format!("not stored, not compared: {}", left.join(", ")));
    }
    for name in f
        .tensors
        .keys()
        .filter(|n| !n.starts_with("grad.") && *n != "tau_pos")
    {
        judge.read(name);
    }
    judge.finish()
}
