//! The table leaves no kernel and no gradient rule out.

use crate::{SMALL_BINDING, exceptions};
use amcl_wgpu::check::{self, Case, gradient};
use libtest_mimic::{Failed, Trial};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// The tests of this file.
pub fn trials(table: &Arc<[Case]>) -> Vec<Trial> {
    let trial = |name: &str, test: fn(&[Case]) -> Result<(), Failed>| {
        let table = table.clone();
        Trial::test(format!("coverage/{name}"), move || test(&table))
    };
    vec![
        trial(
            "every kernel has its four files, cases and a control",
            kernels,
        ),
        trial("every gradient rule has a case", gradients),
        trial("every case has a name of its own", names),
        trial("every exception names a case", listed),
        trial("what is missing is named", missing),
    ]
}

fn fail_on(faults: Vec<String>) -> Result<(), Failed> {
    match faults.is_empty() {
        true => Ok(()),
        false => Err(faults.join("\n").into()),
    }
}

/// Names of the files with this ending in a folder of the repository.
fn stems(folder: &str, ending: &str) -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let files = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path());
    files
        .filter(|p| p.extension().is_some_and(|e| e == ending))
        .map(|p| p.file_stem().unwrap().to_string_lossy().into_owned())
        .collect()
}

fn kernels(table: &[Case]) -> Result<(), Failed> {
    let shaders = stems("shaders", "wgsl");
    let controls: BTreeSet<&str> = check::mutations().iter().map(|m| m.kernel).collect();
    let mut faults = Vec::new();
    for (folder, files) in
        ["src/ops", "src/reference", "src/check/cases"].map(|f| (f, stems(f, "rs")))
    {
        for kernel in shaders.difference(&files) {
            faults.push(format!("{folder}/{kernel}.rs is missing"));
        }
    }
    // An op's kernel has its name, or the name without a suffix: `batch_norm_add` runs `batch_norm`.
    let kernel = |op: &str| {
        let stems = shaders.iter().filter(|s| op.starts_with(s.as_str()));
        stems.max_by_key(|s| s.len())
    };
    let used: BTreeSet<&String> = table.iter().filter_map(|c| kernel(c.op.name())).collect();
    for kernel in &shaders {
        if !used.contains(kernel) {
            faults.push(format!("{kernel}: no case"));
        }
        if !controls.contains(kernel.as_str()) {
            faults.push(format!("{kernel}: no broken shader (a `Mutation`)"));
        }
    }
    fail_on(faults)
}

/// Every input of every op to which the op's rule gives a gradient is differenced in some case.
fn gradients(table: &[Case]) -> Result<(), Failed> {
    let mut rules: BTreeMap<(&str, usize), String> = BTreeMap::new();
    let mut checked = BTreeSet::new();
    for c in table {
        for i in gradient::differentiable(c)? {
            rules.entry((c.op.name(), i)).or_insert_with(|| c.title());
        }
        checked.extend(c.differentiable.iter().map(|i| (c.op.name(), *i)));
    }
    let mut faults = Vec::new();
    for ((op, i), title) in &rules {
        if !checked.contains(&(*op, *i)) {
            faults.push(format!(
                "{op}: the gradient of input {i} is checked by no case ({title} has one)"
            ));
        }
    }
    fail_on(faults)
}

fn names(table: &[Case]) -> Result<(), Failed> {
    let mut seen = BTreeSet::new();
    let twice = table
        .iter()
        .map(Case::title)
        .filter(|t| !seen.insert(t.clone()));
    fail_on(twice.map(|t| format!("two cases are named {t}")).collect())
}

/// Exceptions name cases that exist; and they are exceptions: more cases exceed a small binding and are split.
fn listed(table: &[Case]) -> Result<(), Failed> {
    let titles: BTreeSet<String> = table.iter().map(Case::title).collect();
    let whole = exceptions::BOUND_WHOLE.iter().flat_map(|(_, t)| *t);
    let stale = whole.filter(|t| !titles.contains(**t));
    let mut faults: Vec<String> = stale
        .map(|t| format!("BOUND_WHOLE: no case is named {t}"))
        .collect();
    let large = |c: &&Case| {
        let mut feeds = c.inputs.iter().chain(&c.updates);
        feeds.any(|f| f.ty.bytes() > SMALL_BINDING) && exceptions::bound_whole(&c.title()).is_none()
    };
    let split = table.iter().filter(large).count();
    if split <= 25 {
        faults.push(format!("only {split} cases need to be split"));
    }
    fail_on(faults)
}

/// The controls: without a kernel's cases, without an op's gradient cases, with a case twice.
fn missing(table: &[Case]) -> Result<(), Failed> {
    let mut no_relu = table.to_vec();
    no_relu.retain(|c| c.op.name() != "relu");
    let mut no_gradient = table.to_vec();
    for c in &mut no_gradient {
        if c.op.name() == "mul" {
            c.differentiable.retain(|i| *i == 0);
        }
    }
    let twice = [table, &table[..1]].concat();
    let found = [
        (kernels(&no_relu), "relu: no case"),
        (gradients(&no_gradient), "mul: the gradient of input 1"),
        (names(&twice), "two cases are named"),
        (listed(&[]), "BOUND_WHOLE: no case is named barlow_loss"),
    ];
    let unseen = found.iter().filter(|(result, words)| match result {
        Ok(()) => true,
        Err(e) => !e.message().is_some_and(|m| m.starts_with(words)),
    });
    fail_on(unseen.map(|(r, words)| format!("{words}: {r:?}")).collect())
}
