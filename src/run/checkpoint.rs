//! Checkpoints: all states, the position and the configuration, in one safetensors file, written to a temporary name,
//! synced and renamed. One that cannot be read or is damaged is noticed, told, and the one before it is used.
//!
//! The checksum `sha256_of_all` is of everything: what the header says of the run, and every tensor's name, type, shape
//! and values. Checkpoints of older programs have `sha256` in its place, the SHA-256 of the tensors' values. They are
//! read as they were, and nothing protects their header.

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

/// The values of a group, as a checkpoint has them.
pub fn group_bytes(data: &HostData) -> Vec<u8> {
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

/// Writes `bytes` to a temporary file beside `path`, on the disk before this returns.
///
/// # Errors
/// A full disk and the like; nothing is left of it.
pub(super) fn stage(path: &Path, bytes: &[u8]) -> Result<tempfile::NamedTempFile> {
    let dir = folder_of(path);
    let mut builder = tempfile::Builder::new();
    builder.prefix(WRITING);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let f = builder.tempfile_in(dir).map_err(io(dir))?;
    std::io::Write::write_all(&mut f.as_file(), bytes).map_err(io(path))?;
    f.as_file().sync_all().map_err(io(path))?;
    Ok(f)
}

/// The folder of a file.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(d) if !d.as_os_str().is_empty() => d,
        _ => Path::new("."),
    }
}

/// Writes `bytes` so that `path` holds either its old or its new content, whatever happens.
///
/// # Errors
/// A full disk and the like; the old content stays.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    stage(path, bytes)?
        .persist(path)
        .map_err(|e| io(path)(e.error))?;
    // The rename itself must reach the disk too; not every platform lets a folder be synced.
    if let Ok(d) = std::fs::File::open(folder_of(path)) {
        let _ = d.sync_all();
    }
    Ok(())
}

/// Key of the checksum of a checkpoint as a whole.
const CHECKSUM: &str = "sha256_of_all";
/// Key of the checksum in checkpoints of older programs: of the tensors' values alone.
const STATES_ONLY: &str = "sha256";

/// A tensor of a checkpoint: name, type, shape, little-endian values.
pub type Stored = (String, Dtype, Vec<usize>, Vec<u8>);

/// SHA-256 of a checkpoint: what it says of the run (but for the checksum itself) and its tensors, each in the order of
/// the names. Lengths stand before texts, so that no two checkpoints give the same bytes.
fn checksum<'a>(
    about: &HashMap<String, String>,
    tensors: impl Iterator<Item = (&'a str, TensorView<'a>)>,
) -> String {
    let mut digest = Sha256::new();
    let text = |digest: &mut Sha256, t: &str| {
        digest.update((t.len() as u64).to_le_bytes());
        digest.update(t);
    };
    let mut about: Vec<_> = about.iter().filter(|(k, _)| *k != CHECKSUM).collect();
    about.sort();
    digest.update((about.len() as u64).to_le_bytes());
    for (key, value) in about {
        text(&mut digest, key);
        text(&mut digest, value);
    }
    let mut tensors: Vec<_> = tensors.collect();
    tensors.sort_by_key(|(name, _)| *name);
    for (name, t) in tensors {
        text(&mut digest, name);
        text(&mut digest, &format!("{:?} {:?}", t.dtype(), t.shape()));
        digest.update(t.data());
    }
    hex(&digest.finalize())
}

/// The bytes of a checkpoint that says `about` of the run and holds these tensors, with its checksum.
///
/// # Errors
/// Values that do not fill their shape.
pub fn pack(mut about: HashMap<String, String>, tensors: &[Stored]) -> Result<Vec<u8>> {
    let bad = |e: safetensors::SafeTensorError| RunError::Checkpoint(e.to_string());
    let views: Vec<(&str, TensorView<'_>)> = tensors
        .iter()
        .map(|(name, dtype, shape, bytes)| {
            TensorView::new(*dtype, shape.clone(), bytes).map(|v| (name.as_str(), v))
        })
        .collect::<std::result::Result<_, _>>()
        .map_err(bad)?;
    let sum = checksum(&about, views.iter().map(|(n, v)| (*n, v.clone())));
    about.insert(CHECKSUM.into(), sum);
    safetensors::serialize(views, Some(about)).map_err(bad)
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
    for g in by_name(states) {
        let Some(id) = states.whole(g.group) else {
            continue;
        };
        let dtype = if g.dtype == DType::F32 {
            Dtype::F32
        } else {
            Dtype::U32
        };
        let bytes = group_bytes(&exec.read_state(states, id)?);
        groups.push((g.group.name(), dtype, vec![g.len], bytes));
    }
    let about = HashMap::from([
        ("epoch".to_string(), at.epoch.to_string()),
        ("batch".to_string(), at.batch.to_string()),
        ("step".to_string(), at.step.to_string()),
        ("config".to_string(), config.to_string()),
    ]);
    let bytes = pack(about, &groups)?;
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
    let found = match std::fs::read_dir(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        found => found.map_err(io(dir))?,
    };
    let mut v: Vec<PathBuf> = found
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

/// Reads the newest usable checkpoint: of all saved groups, those that `only` names (all when empty). `warn` is told of
/// newer ones that cannot be read or are damaged.
///
/// # Errors
/// None is usable, or they belong to another model; says why.
pub fn read_latest(
    dir: &Path,
    states: &States,
    only: &[Group],
    mut warn: impl FnMut(String),
) -> Result<(Groups, Position)> {
    let mut unusable = Vec::new();
    for path in list(dir)?.iter().rev() {
        let bytes = std::fs::read(path).map_err(io(path));
        let found = bytes.and_then(|bytes| {
            parse(&bytes, states, only)
                .map_err(|e| RunError::Checkpoint(format!("{}: {e}", path.display())))
        });
        match found {
            Ok(found) => {
                let used = path.file_name().unwrap_or_default().to_string_lossy();
                for why in &unusable {
                    warn(format!("{why}; using the checkpoint before it, {used}"));
                }
                return Ok(found);
            }
            Err(e) => unusable.push(e.to_string()),
        }
    }
    let why = match unusable.is_empty() {
        true => "there is none, so the run has no weights yet".into(),
        false => unusable.join("; "),
    };
    Err(RunError::Checkpoint(format!(
        "{}: no usable checkpoint: {why}",
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

/// SHA-256 of the values alone, by the tensors' names in order, as older programs wrote it.
fn values_checksum(st: &SafeTensors<'_>) -> String {
    let mut tensors = st.tensors();
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    let mut digest = Sha256::new();
    for (_, t) in &tensors {
        digest.update(t.data());
    }
    hex(&digest.finalize())
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
    let (kept, found) = match meta.get(CHECKSUM) {
        Some(kept) => (Some(kept), checksum(&meta, st.iter())),
        None => (meta.get(STATES_ONLY), values_checksum(&st)),
    };
    if kept != Some(&found) {
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
mod tests;
