//! Fixtures: numbers of another implementation in a safetensors file, whose header's `meta` is JSON with `kind` (what
//! was computed) and `config` (with which settings).

use safetensors::{Dtype, SafeTensors};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// What is wrong with a file; one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FixtureError(pub String);

/// A [`FixtureError`] of these words.
pub fn bad(reason: impl Into<String>) -> FixtureError {
    FixtureError(reason.into())
}

type Result<T> = std::result::Result<T, FixtureError>;

/// The values of a stored tensor.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Of float32 and float64.
    Real(Vec<f64>),
    /// Of integers and truth values.
    Integer(Vec<i64>),
    /// Of a type that is not read: 16 bits and less.
    Unread,
}

/// A stored tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// The type in the file.
    pub dtype: Dtype,
    /// Dimensions, slowest first.
    pub shape: Vec<usize>,
    /// Values, as many as the dimensions say.
    pub values: Values,
}

/// A parsed file.
#[derive(Clone, Debug)]
pub struct Fixture {
    /// What the numbers are of.
    pub kind: String,
    /// All of `meta`.
    pub meta: Value,
    /// Tensors by name.
    pub tensors: BTreeMap<String, Stored>,
}

/// The values of little-endian bytes, N a value.
fn each<const N: usize, T>(data: &[u8], value: impl Fn([u8; N]) -> T) -> Vec<T> {
    let chunks = data.chunks_exact(N);
    chunks
        .filter_map(|b| b.try_into().ok().map(&value))
        .collect()
}

/// Reads values of a type.
fn read(dtype: Dtype, data: &[u8]) -> Values {
    use Values::{Integer, Real, Unread};
    match dtype {
        Dtype::F32 => Real(each(data, |b| f64::from(f32::from_le_bytes(b)))),
        Dtype::F64 => Real(each(data, f64::from_le_bytes)),
        Dtype::BOOL | Dtype::U8 => Integer(each(data, |b: [u8; 1]| i64::from(b[0]))),
        Dtype::I32 => Integer(each(data, |b| i64::from(i32::from_le_bytes(b)))),
        Dtype::U32 => Integer(each(data, |b| i64::from(u32::from_le_bytes(b)))),
        Dtype::I64 => Integer(each(data, i64::from_le_bytes)),
        _ => Unread,
    }
}

impl Fixture {
    /// Parses the bytes of a file.
    ///
    /// # Errors
    /// No safetensors file, no `meta`, no `kind` in it.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let (_, header) = SafeTensors::read_metadata(bytes)
            .map_err(|e| bad(format!("no safetensors file: {e}")))?;
        let meta = header
            .metadata()
            .as_ref()
            .and_then(|m| m.get("meta"))
            .ok_or_else(|| bad("the header has no `meta` entry"))?;
        let meta: Value =
            serde_json::from_str(meta).map_err(|e| bad(format!("`meta` is no JSON: {e}")))?;
        let kind = meta["kind"]
            .as_str()
            .ok_or_else(|| bad("`meta` names no kind"))?
            .to_string();
        let file = SafeTensors::deserialize(bytes)
            .map_err(|e| bad(format!("no safetensors file: {e}")))?;
        let tensors = file.tensors().into_iter().map(|(name, t)| {
            let stored = Stored {
                dtype: t.dtype(),
                shape: t.shape().to_vec(),
                values: read(t.dtype(), t.data()),
            };
            (name, stored)
        });
        Ok(Self {
            kind,
            tensors: tensors.collect(),
            meta,
        })
    }

    /// `config` as a type that names every key which means something; `described` are keys that only describe.
    ///
    /// # Errors
    /// A key that is missing or unknown, a value of another type.
    pub fn config<T: DeserializeOwned>(&self, described: &[&str]) -> Result<T> {
        let mut config = match &self.meta["config"] {
            Value::Object(map) => map.clone(),
            Value::Null => Map::new(),
            other => return Err(bad(format!("`config` is {other}, no object"))),
        };
        config.retain(|key, _| !described.contains(&key.as_str()));
        serde_json::from_value(Value::Object(config)).map_err(|e| bad(format!("config: {e}")))
    }

    /// A number of `float32_guide`, or of another such table: 0 where there is none.
    pub fn guide(&self, table: &str, key: &str) -> f64 {
        self.meta[table][key].as_f64().unwrap_or(0.0)
    }

    /// A tensor that must be there.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn stored(&self, name: &str) -> Result<&Stored> {
        let stored = self.tensors.get(name);
        stored.ok_or_else(|| bad(format!("kind {} needs a tensor `{name}`", self.kind)))
    }

    fn shaped(&self, name: &str, shape: &[usize]) -> Result<&Stored> {
        let stored = self.stored(name)?;
        match stored.shape == shape {
            true => Ok(stored),
            false => Err(bad(format!(
                "`{name}` has shape {:?}, expected {shape:?}",
                stored.shape
            ))),
        }
    }

    /// The values of a tensor of float32 or float64 of this shape, none of them infinite or NaN.
    ///
    /// # Errors
    /// Not there, of another shape or type, not finite.
    pub fn reals(&self, name: &str, shape: &[usize]) -> Result<&[f64]> {
        let stored = self.shaped(name, shape)?;
        let Values::Real(values) = &stored.values else {
            let found = stored.dtype;
            return Err(bad(format!("`{name}` is {found:?}, expected F32 or F64")));
        };
        match values.iter().position(|v| !v.is_finite()) {
            None => Ok(values),
            Some(at) => {
                let value = values[at];
                Err(bad(format!("`{name}` holds {value} at position {at}")))
            }
        }
    }

    /// The values of a tensor of integers of this shape.
    ///
    /// # Errors
    /// Not there, of another shape or type.
    pub fn integers(&self, name: &str, shape: &[usize]) -> Result<&[i64]> {
        let stored = self.shaped(name, shape)?;
        match &stored.values {
            Values::Integer(values) => Ok(values),
            _ => Err(bad(format!(
                "`{name}` is {:?}, expected integers",
                stored.dtype
            ))),
        }
    }

    /// The dimensions of a tensor that has N of them, none of them zero.
    ///
    /// # Errors
    /// Not there, or of another rank.
    pub fn rank<const N: usize>(&self, name: &str) -> Result<[usize; N]> {
        let shape = &self.stored(name)?.shape;
        match <[usize; N]>::try_from(&shape[..]) {
            Ok(dims) if !dims.contains(&0) => Ok(dims),
            _ => Err(bad(format!(
                "`{name}` has shape {shape:?}, expected {N} dimensions, none of them 0"
            ))),
        }
    }
}
