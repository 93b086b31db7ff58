//! `mask_ranks`: which patches of an image are taken out, by the rank of noise. Twin: `reference/mask_ranks.rs`.

use crate::device::recording::{Recorder, row_chunks};
use crate::graph::op::HostMut;
use crate::graph::{Bindings, Class, Graph, HostIo, NodeId, Op, Result, TensorId, TensorType};
use crate::reference::{Scalar, mask_ranks};
use crate::{kernel, twin};

/// noise [b,l] -> rank u32 [b,l], kept u32 [b,keep], mask [b,l]. The `keep` patches of least noise stay (He et al.,
/// "Masked Autoencoders", 2022): `kept` has their places in the order of their noise, `rank` is the inverse of the
/// whole order, and `mask` is 1 where a patch is taken out. `rank` and `kept` are the index and the inverse that
/// [`super::take_tokens::TakeTokens`] needs, either way. No gradient passes.
#[derive(Clone, Copy, Debug)]
pub struct MaskRanks {
    /// Patches that stay, of each image.
    pub keep: usize,
}

/// Patches that stay of `patches` where the share `ratio` is taken out: rounded down, in f64, as the reference
/// implementation does.
pub fn kept_of(patches: usize, ratio: f64) -> usize {
    (patches as f64 * (1.0 - ratio)) as usize
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    total: u32,
    n: u32,
    keep: u32,
    r: u32,
}

impl Op for MaskRanks {
    fn name(&self) -> &'static str {
        "mask_ranks"
    }
    fn class(&self) -> Class {
        Class::Search
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let [b, n] = inputs[0].rank("noise")?;
        let keep = self.keep;
        if keep == 0 || keep > n {
            return Err(format!(
                "{keep} of {n} patches cannot stay: at least 1, at most all"
            ));
        }
        Ok(vec![
            TensorType::u32([b, n]),
            TensorType::u32([b, keep]),
            TensorType::f32([b, n]),
        ])
    }
    fn gradient(
        &self,
        _g: &mut Graph,
        _node: NodeId,
        _dy: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        Ok(vec![None])
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let all = [
            &io.inputs[0],
            &io.outputs[0],
            &io.outputs[1],
            &io.outputs[2],
        ];
        let n = all[0].dims()[1];
        for r in row_chunks(&all, rec.limits()) {
            let total = r.len() * n;
            let [noise, rank, kept, mask] = all.map(|v| v.rows(r.clone()));
            let p = Params {
                total: total as u32,
                n: n as u32,
                keep: self.keep as u32,
                r: 0,
            };
            let bound = [&noise, &rank, &kept, &mask];
            rec.dispatch(
                &kernel!("mask_ranks", "main"),
                &p,
                &bound,
                total.div_ceil(64),
            )?;
        }
        Ok(())
    }
    twin!();
}

impl MaskRanks {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let n = io.input_types[0].dims()[1];
        let noise = io.input(0);
        if let [rank, kept, mask] = &mut io.outputs[..] {
            let places = (HostMut::u32(rank), HostMut::u32(kept));
            mask_ranks::mask_ranks((n, self.keep), noise, places, mask.float());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::kept_of;

    /// In f32, 50 (1 - 0.6) would be less than 20.
    #[test]
    fn shares_are_rounded_down_in_f64() {
        let all = [
            (196, 0.75, 49),
            (196, 0.5, 98),
            (49, 0.6, 19),
            (50, 0.6, 20),
            (64, 0.0, 64),
        ];
        for (patches, ratio, want) in all {
            assert_eq!(kept_of(patches, ratio), want, "{patches} {ratio}");
        }
    }
}
