//! Checkpoints: all states and the position, in one safetensors file, written to a temporary name, synced and renamed.
//! A damaged one is noticed by its checksum, and the one before it is used.

use super::{Result, RunError, io};
use crate::graph::state::{Group, StateGroup};
use crate::graph::{DType, Executor, HostData, States};
use crate::nn::model::PARAMS;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Where a run stands: the next epoch, the next batch within it, the next optimiser step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Next epoch.
    pub epoch: usize,
    /// Next batch of that epoch.
    pub batch: usize,
    /// Optimiser steps done.
    pub step: usize,
}

/// Checkpoints kept.
const KEEP: usize = 2;

fn group_bytes(data: &HostData) -> Vec<u8> {
    match data {
        HostData::F32(v) => bytemuck::cast_slice(v).to_vec(),
        HostData::U32(v) => bytemuck::cast_slice(v).to_vec(),
        HostData::F64(v) => v.iter().flat_map(|x| (*x as f32).to_ne_bytes()).collect(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// SHA-256 of the group `params`, as hexadecimal text.
///
/// # Errors
/// Device loss.
pub fn weights_hash(exec: &mut dyn Executor, states: &States) -> Result<String> {
    let id = states
        .whole(PARAMS)
        .ok_or_else(|| RunError::Checkpoint("a model without parameters".into()))?;
    Ok(hex(&Sha256::digest(group_bytes(
        &exec.read_state(states, id)?,
    ))))
}

/// How names of files begin that are being written, and of those that a killed run left half written.
pub(super) const WRITING: &str = ".writing-";

/// Removes what a killed run left half written in `dir`, which must be in nobody's hands. A folder that is not there
/// holds nothing.
///
/// # Errors
/// Files that cannot be removed.
pub fn remove_half_written(dir: &Path) -> Result<()> {
    for e in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if e.file_name().to_string_lossy().starts_with(WRITING) {
            std::fs::remove_file(e.path()).map_err(io(e.path()))?;
        }
    }
    Ok(())
}

/// Writes `bytes` so that `path` holds either its old or its new content, whatever happens.
///
/// # Errors
/// A full disk and the like; the old content stays.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let dir = match path.parent() {
        Some(d) if !d.as_os_str().is_empty() => d,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(WRITING);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let f = builder.tempfile_in(dir).map_err(io(dir))?;
    std::io::Write::write_all(&mut f.as_file(), bytes).map_err(io(path))?;
    f.as_file().sync_all().map_err(io(path))?;
    f.persist(path).map_err(|e| RunError::Io {
        path: path.into(),
        source: e.error,
    })?;
    // The rename itself must reach the disk too; not every platform lets a folder be synced.
    if let Ok(d) = std::fs::File::open(dir) {
        let _ = d.sync_all();
    }
    Ok(())
}

/// Saves a checkpoint into `dir` and removes all but the newest two.
///
/// # Errors
/// Files, device loss.
pub fn save(
    dir: &Path,
    exec: &mut dyn Executor,
    states: &States,
    at: Position,
    config: &str,
) -> Result<PathBuf> {
    let mut groups = Vec::new();
    let mut digest = Sha256::new();
    for g in by_name(states) {
        let Some(id) = states.whole(g.group) else {
            continue;
        };
        let bytes = group_bytes(&exec.read_state(states, id)?);
        digest.update(&bytes);
        groups.push((g.group.name(), g.dtype, g.len, bytes));
    }
    let views: Vec<(String, TensorView<'_>)> = groups
        .iter()
        .map(|(name, dtype, len, bytes)| {
            let dtype = if *dtype == DType::F32 {
                Dtype::F32
            } else {
                Dtype::U32
            };
            TensorView::new(dtype, vec![*len], bytes).map(|v| (name.clone(), v))
        })
        .collect::<std::result::Result<_, _>>()
        .map_err(|e| RunError::Checkpoint(e.to_string()))?;
    let meta = HashMap::from([
        ("epoch".to_string(), at.epoch.to_string()),
        ("batch".to_string(), at.batch.to_string()),
        ("step".to_string(), at.step.to_string()),
        ("config".to_string(), config.to_string()),
        ("sha256".to_string(), hex(&digest.finalize())),
    ]);
    let bytes = safetensors::serialize(views, Some(meta))
        .map_err(|e| RunError::Checkpoint(e.to_string()))?;
    std::fs::create_dir_all(dir).map_err(io(dir))?;
    let path = dir.join(format!("step-{:08}.safetensors", at.step));
    write_atomically(&path, &bytes)?;
    for old in list(dir)?.iter().rev().skip(KEEP) {
        let _ = std::fs::remove_file(old);
    }
    Ok(path)
}

/// Checkpoints of a folder, oldest first.
fn list(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut v: Vec<PathBuf> = std::fs::read_dir(dir)
        .map_err(io(dir))?
        .filter_map(|e| Some(e.ok()?.path()))
        .filter(|p| {
            p.file_name()
                .is_some_and(|n| n.to_string_lossy().starts_with("step-"))
                && p.extension().is_some_and(|x| x == "safetensors")
        })
        .collect();
    v.sort();
    Ok(v)
}

/// Is there a checkpoint, whole or damaged? What a kill left of one that was being written is none.
pub fn present(dir: &Path) -> bool {
    list(dir).is_ok_and(|v| !v.is_empty())
}

/// Values of groups.
pub type Groups = Vec<(Group, HostData)>;

/// Reads the newest undamaged checkpoint: of all saved groups, those that `only` names (all when empty); `warn` is told
/// of damaged ones.
///
/// # Errors
/// None is usable, or it belongs to another model.
pub fn read_latest(
    dir: &Path,
    states: &States,
    only: &[Group],
    mut warn: impl FnMut(String),
) -> Result<(Groups, Position)> {
    for path in list(dir)?.iter().rev() {
        let bytes = std::fs::read(path).map_err(io(path))?;
        match parse(&bytes, states, only) {
            Ok(found) => return Ok(found),
            Err(e) => warn(format!(
                "{}: {e}; trying the checkpoint before it",
                path.display()
            )),
        }
    }
    Err(RunError::Checkpoint(format!(
        "{}: no usable checkpoint",
        dir.display()
    )))
}

/// Loads the newest undamaged checkpoint into the executor; `warn` is told of damaged ones.
///
/// # Errors
/// As [`read_latest`]; device loss.
pub fn load_latest(
    dir: &Path,
    exec: &mut dyn Executor,
    states: &States,
    warn: impl FnMut(String),
) -> Result<Position> {
    let (groups, at) = read_latest(dir, states, &[], warn)?;
    for (group, data) in groups {
        if let Some(id) = states.whole(group) {
            exec.write_state(states, id, &data)?;
        }
    }
    Ok(at)
}

/// The groups that a checkpoint holds, in the order of their names.
fn by_name(states: &States) -> Vec<&StateGroup> {
    let mut groups: Vec<&StateGroup> = states
        .groups()
        .iter()
        .filter(|g| g.group.is_saved())
        .collect();
    groups.sort_by_key(|g| g.group.name());
    groups
}

fn parse(bytes: &[u8], states: &States, only: &[Group]) -> Result<(Groups, Position)> {
    let bad = |e: &dyn std::fmt::Display| RunError::Checkpoint(format!("damaged checkpoint: {e}"));
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| bad(&e))?;
    let meta = header.metadata().clone().unwrap_or_default();
    let number = |k: &str| {
        meta.get(k)
            .and_then(|v| v.parse::<usize>().ok())
            .ok_or_else(|| bad(&format!("no `{k}`")))
    };
    let at = Position {
        epoch: number("epoch")?,
        batch: number("batch")?,
        step: number("step")?,
    };
    let st = SafeTensors::deserialize(bytes).map_err(|e| bad(&e))?;
    let mut digest = Sha256::new();
    let mut names = st.names();
    names.sort_unstable();
    for name in names {
        digest.update(st.tensor(name).map_err(|e| bad(&e))?.data());
    }
    if meta.get("sha256") != Some(&hex(&digest.finalize())) {
        return Err(bad(&"its checksum does not match"));
    }
    let mut out = Vec::new();
    let wanted = |g: &&StateGroup| only.is_empty() || only.contains(&g.group);
    for g in by_name(states).into_iter().filter(wanted) {
        let name = g.group.name();
        let t = st.tensor(&name).map_err(|e| bad(&format!("{name}: {e}")))?;
        if t.shape() != [g.len] {
            return Err(RunError::Checkpoint(format!(
                "it belongs to another model: {name} holds {:?}, expected {}",
                t.shape(),
                g.len
            )));
        }
        out.push((
            g.group,
            match g.dtype {
                DType::F32 => HostData::F32(bytemuck::pod_collect_to_vec(t.data())),
                DType::U32 => HostData::U32(bytemuck::pod_collect_to_vec(t.data())),
                // What outlives a step is f32: parameters, moments, statistics.
                DType::F16 => return Err(bad(&format!("{name}: a state of 16 bits"))),
            },
        ));
    }
    Ok((out, at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::TensorType;
    use crate::graph::host::HostExecutor;

    #[test]
    fn a_damaged_checkpoint_falls_back_to_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let mut states = States::new();
        let id = states.add(PARAMS, "w", TensorType::f32([70]));
        let mut exec = HostExecutor::<f32>::new();
        exec.allocate_states(&states).unwrap();
        let mut paths = Vec::new();
        for step in 1..=3 {
            exec.write_state(&states, id, &HostData::F32(vec![step as f32; 70]))
                .unwrap();
            paths.push(
                save(
                    dir.path(),
                    &mut exec,
                    &states,
                    Position {
                        epoch: 0,
                        batch: step,
                        step,
                    },
                    "",
                )
                .unwrap(),
            );
        }
        assert_eq!(list(dir.path()).unwrap().len(), 2, "the oldest is removed");
        let mut bytes = std::fs::read(&paths[2]).unwrap();
        let n = bytes.len();
        bytes[n - 300] ^= 1;
        std::fs::write(&paths[2], bytes).unwrap();
        let mut warnings = Vec::new();
        let at = load_latest(dir.path(), &mut exec, &states, |w| warnings.push(w)).unwrap();
        assert_eq!((at.step, warnings.len()), (2, 1));
        assert!(warnings[0].contains("checksum"), "{warnings:?}");
        assert_eq!(
            exec.read_state(&states, id).unwrap().to_f32(),
            vec![2.0; 70]
        );
    }
}
