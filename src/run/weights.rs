//! Named weights: of a run's newest checkpoint, or of a safetensors file from elsewhere.

use super::checkpoint::{self, Position};
use super::claim;
use super::{Result, RunError, io};
use crate::config::Config;
use crate::config::method::{declare, declare_method};
use crate::methods::Method;
use crate::nn::Model;
use crate::nn::import::{self, Named, Source, Weights};
use crate::nn::model::{PARAMS, STATISTICS};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// Largest weight file that is read.
const LARGEST: u64 = 8 << 30;

/// The weights in a folder that `export` wrote.
const EXPORTED: &str = "model.safetensors";

/// A run, read from its folder.
#[derive(Clone, Debug)]
pub struct Trained {
    /// Its configuration.
    pub config: Config,
    /// Where its newest usable checkpoint stands.
    pub at: Position,
    /// All parameters and running statistics.
    pub weights: Named,
}

/// Reads a run folder: configuration and newest undamaged checkpoint; `warn` is told of damaged ones.
///
/// # Errors
/// No run there; no usable checkpoint.
pub fn of_run(run: &Path, warn: impl FnMut(String)) -> Result<Trained> {
    let config = config_of(run)?;
    let model = declare(&config)?;
    read(run, config, &model, warn)
}

/// [`of_run`] of a run that was trained by this method in place of its configuration's.
///
/// # Errors
/// As [`of_run`].
pub fn of_method(run: &Path, method: &dyn Method, warn: impl FnMut(String)) -> Result<Trained> {
    let config = config_of(run)?;
    let model = declare_method(&config, method)?;
    read(run, config, &model, warn)
}

/// The configuration in a run's folder.
fn config_of(run: &Path) -> Result<Config> {
    claim::readable(run)?;
    let path = run.join("config.toml");
    let text = std::fs::read_to_string(&path).map_err(|e| {
        RunError::Config(format!(
            "{} is no run folder: {}: {e}",
            run.display(),
            path.display()
        ))
    })?;
    Ok(Config::parse(&text, &[])?)
}

/// The weights of a model whose variables are declared.
fn read(
    run: &Path,
    config: Config,
    model: &Model,
    mut warn: impl FnMut(String),
) -> Result<Trained> {
    let groups = [PARAMS, STATISTICS];
    let dir = run.join("checkpoints");
    let (values, at) = checkpoint::read_latest(&dir, &model.states, &groups, &mut warn)?;
    let weights = import::named(model, |group, range| {
        let found = values.iter().find(|(g, _)| *g == group);
        found
            .map(|(_, v)| v.to_f32()[range].to_vec())
            .unwrap_or_default()
    });
    let finite = |w: &Weights| w.values.iter().all(|v| v.is_finite());
    if let Some((name, _)) = weights.iter().find(|(_, w)| !finite(w)) {
        warn(format!(
            "{}: values of `{name}` are not finite: what is made with these weights means nothing",
            run.display()
        ));
    }
    Ok(Trained {
        config,
        at,
        weights,
    })
}

/// Reads a safetensors file: f32, f16, bf16 and f64 tensors, all as f32. Names are the file's:
/// [`crate::nn::import::without_prefix`] finds the encoder among them. `note` is told of tensors in other types than
/// f32, and of those that are left out.
///
/// # Errors
/// No such file, no safetensors (what it is, where that is known), a header that does not fit the file, no tensors.
pub fn of_file(path: &Path, note: impl FnMut(String)) -> Result<Named> {
    let bad = |e: &dyn std::fmt::Display| {
        RunError::Config(format!(
            "{}: {e}; expected a safetensors file (of torchvision, timm, MAE, MoCo, DINO or `amcl-wgpu export`)",
            path.display()
        ))
    };
    let facts = std::fs::metadata(path).map_err(io(path))?;
    if facts.is_dir() {
        return Err(bad(
            &"a folder without config.toml (a run's) and without model.safetensors (an export's)",
        ));
    }
    if facts.len() > LARGEST {
        return Err(bad(&format!("{} bytes are too many", facts.len())));
    }
    let bytes = std::fs::read(path).map_err(io(path))?;
    let mut note = note;
    let named = read_tensors(&bytes, |n| note(format!("{}: {n}", path.display())));
    named.map_err(|e| bad(&e))
}

/// [`of_file`] on bytes, without its notes.
///
/// # Errors
/// What is wrong, in words.
pub fn parse(bytes: &[u8]) -> std::result::Result<Named, String> {
    read_tensors(bytes, |_| ())
}

/// Files of other formats by their first bytes, and what to do.
const FORMATS: &[(&[u8], &str)] = &[
    (b"\x80\x02", TORCH),
    (b"\x80\x04", TORCH),
    (b"\x89HDF", "this is an HDF5 file, of Keras as a rule"),
    (
        b"\x93NUMPY",
        "this is a NumPy array, without names of tensors",
    ),
    (b"GGUF", "this is a GGUF file, of a language model"),
    (
        b"version https://git-lfs",
        "this is a pointer of Git LFS and not the file itself: fetch it with `git lfs pull`",
    ),
    (b"\x1f\x8b", "this is packed with gzip: unpack it first"),
    (b"<", "this is a web page or XML: the download went wrong"),
    (
        b"{",
        "this is JSON: of weights in several files, name the .safetensors themselves",
    ),
];

/// What to do about a file of `torch.save`: of MoCo ({"state_dict": ..}), MAE ({"model": ..}), DINO ({"teacher": ..}),
/// or plain. Training scripts put their settings beside the weights, as an argparse.Namespace.
const TORCH: &str = "this is a pickle of PyTorch (torch.save), which may hold any program and is not read: convert it, \
    python -c \"import argparse, torch, safetensors.torch as s; \
    torch.serialization.add_safe_globals([argparse.Namespace]); \
    d = torch.load('FILE', map_location='cpu', weights_only=True); \
    d = next((d[k] for k in ('state_dict', 'model', 'teacher') if k in d), d); \
    s.save_file({k: v.clone().contiguous() for k, v in d.items() if torch.is_tensor(v)}, 'FILE.safetensors')\"";

/// What to do about a zip of NumPy arrays.
const NUMPY: &str = "this is a zip of NumPy arrays (.npz), of Google's Vision Transformers as a rule, whose names and \
    layouts are other ones: convert it with timm, python -c \"import timm, safetensors.torch as s; \
    m = timm.create_model('vit_base_patch16_224', checkpoint_path='FILE.npz'); \
    s.save_file(m.state_dict(), 'FILE.safetensors')\", with the name that has its size";

/// What a zip is: its first member's name, behind a header of 30 bytes, tells.
fn of_zip(bytes: &[u8]) -> Option<&'static str> {
    let header = bytes.strip_prefix(b"PK\x03\x04")?;
    let length = header.get(22).map_or(0, |l| usize::from(*l));
    let name = header.get(26..26 + length);
    Some(match name.is_some_and(|n| n.ends_with(b".npy")) {
        true => NUMPY,
        false => TORCH,
    })
}

/// The tensors of a safetensors file as f32.
fn read_tensors(bytes: &[u8], mut note: impl FnMut(String)) -> std::result::Result<Named, String> {
    if bytes.is_empty() {
        return Err("the file is empty".into());
    }
    let st = SafeTensors::deserialize(bytes).map_err(|e| {
        let known = FORMATS.iter().find(|(begin, _)| bytes.starts_with(begin));
        let known = known.map(|(_, what)| *what).or_else(|| of_zip(bytes));
        known.map_or_else(|| e.to_string(), str::to_string)
    })?;
    let mut out = Named::new();
    // In the order of their names: the file's own order is that of a hash map.
    let tensors: BTreeMap<String, _> = st.tensors().into_iter().collect();
    if tensors.is_empty() {
        return Err("the file holds no tensors".into());
    }
    let (mut widened, mut left_out) = (BTreeMap::<String, usize>::new(), Vec::new());
    for (name, t) in tensors {
        let data = t.data();
        let values: Vec<f32> = match t.dtype() {
            Dtype::F32 => data
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect(),
            Dtype::F16 => data
                .chunks_exact(2)
                .map(|b| half::f16::from_le_bytes([b[0], b[1]]).to_f32())
                .collect(),
            Dtype::BF16 => data
                .chunks_exact(2)
                .map(|b| half::bf16::from_le_bytes([b[0], b[1]]).to_f32())
                .collect(),
            Dtype::F64 => data
                .chunks_exact(8)
                .map(|b| {
                    f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) as f32
                })
                .collect(),
            other => {
                // PyTorch counts batches; nothing here needs it.
                if !name.ends_with("num_batches_tracked") {
                    left_out.push(format!("{name} ({other:?})"));
                }
                continue;
            }
        };
        if t.dtype() != Dtype::F32 {
            *widened.entry(format!("{:?}", t.dtype())).or_default() += 1;
        }
        let shape = t.shape().to_vec();
        out.insert(name, Weights { shape, values });
    }
    for (dtype, count) in widened {
        note(format!("{count} tensors are {dtype} and were read as f32"));
    }
    if !left_out.is_empty() {
        let (count, rest) = (
            left_out.len(),
            if left_out.len() > 4 { ", ..." } else { "" },
        );
        left_out.truncate(4);
        note(format!(
            "{count} tensors are of types that are not read, and were left out: {}{rest}",
            left_out.join(", ")
        ));
    }
    Ok(out)
}

/// What an export's `config.json` says of its network.
fn described(folder: &Path) -> Option<Value> {
    let text = std::fs::read(folder.join("config.json")).ok()?;
    let config: Value = serde_json::from_slice(&text).ok()?;
    config.get("amcl_wgpu").cloned()
}

/// Weights to start from: a run folder, a folder that `export` wrote, or a safetensors file.
///
/// # Errors
/// As [`of_run`] and [`of_file`].
pub fn of_any(path: &Path, warn: impl FnMut(String)) -> Result<Source> {
    if path.join("config.toml").is_file() {
        let run = of_run(path, warn)?;
        return Ok(Source {
            network: Some(run.config.backbone()?.card().network),
            tensors: run.weights,
        });
    }
    let inside = path.join(EXPORTED);
    let file = if inside.is_file() { &inside } else { path };
    let folder = file.parent().filter(|_| file.ends_with(EXPORTED));
    Ok(Source {
        tensors: of_file(file, warn)?,
        network: folder.and_then(described),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::tensor::TensorView;

    fn file(tensors: &[(&str, Dtype, &[u8])]) -> Vec<u8> {
        let width = |d| match d {
            Dtype::F32 => 4,
            Dtype::F64 | Dtype::I64 => 8,
            Dtype::I8 => 1,
            _ => 2,
        };
        let views = tensors.iter().map(|(name, dtype, bytes)| {
            let shape = vec![bytes.len() / width(*dtype)];
            (*name, TensorView::new(*dtype, shape, bytes).unwrap())
        });
        safetensors::serialize(views, None).unwrap()
    }

    #[test]
    fn other_formats_are_named() {
        for (bytes, want) in [
            (&b""[..], "empty"),
            (b"PK\x03\x04archive/data.pkl", "torch.save"),
            (b"\x80\x02\x8a\nl\xfc\x9c", "torch.save"),
            (b"PK\x03\x04", "torch.save"),
            (
                b"PK\x03\x04\x14\0\0\0\0\0\0\0!\0abcdabcdabcd\x08\0\0\0head.npy",
                "timm.create_model",
            ),
            (b"\x89HDF\r\n\x1a\n", "HDF5"),
            (
                b"version https://git-lfs.github.com/spec/v1\n",
                "git lfs pull",
            ),
            (b"<!DOCTYPE html>", "web page"),
            (b"{\"metadata\": {}}", "JSON"),
            (b"\x1f\x8b\x08", "gzip"),
        ] {
            let e = parse(bytes).unwrap_err();
            assert!(e.contains(want) && !e.contains('\n'), "{e}");
        }
        assert!(parse(&file(&[])).unwrap_err().contains("no tensors"));
        // The control: a file of tensors.
        assert_eq!(
            parse(&file(&[("a", Dtype::F32, &[0; 8])])).unwrap()["a"].values,
            [0.0; 2]
        );
    }

    #[test]
    fn types_are_widened_or_left_out_and_both_are_said() {
        let one = half::bf16::from_f32(1.5).to_le_bytes();
        let bytes = file(&[
            ("a", Dtype::F32, &[0; 4]),
            ("b", Dtype::BF16, &one),
            ("c", Dtype::F64, &2.5f64.to_le_bytes()),
            ("d", Dtype::I8, &[1, 2]),
            ("bn.num_batches_tracked", Dtype::I64, &[0; 8]),
        ]);
        let mut notes = Vec::new();
        let named = read_tensors(&bytes, |n| notes.push(n)).unwrap();
        assert_eq!((named["b"].values[0], named["c"].values[0]), (1.5, 2.5));
        assert_eq!(
            notes,
            [
                "1 tensors are BF16 and were read as f32",
                "1 tensors are F64 and were read as f32",
                "1 tensors are of types that are not read, and were left out: d (I8)"
            ]
        );
        // The control: nothing to say of f32.
        let mut none = Vec::new();
        read_tensors(&file(&[("a", Dtype::F32, &[0; 4])]), |n| none.push(n)).unwrap();
        assert!(none.is_empty(), "{none:?}");
    }
}
