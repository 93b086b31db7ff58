//! `rand_augment`: operations on images, drawn for each (Cubuk et al., "RandAugment", 2020), as PIL and timm have them.
//! Twin: `reference/rand_augment.rs`.

use crate::device::Limits;
use crate::device::recording::{Recorder, View, row_chunks};
use crate::graph::{Bindings, Class, Graph, HostIo, NodeId, Op, Result, TensorId, TensorType};
use crate::reference::Scalar;
use crate::reference::augment::Filter;
use crate::reference::rand_augment::{self, ENTRY};
use crate::{kernel, twin};

/// Images [n,s,s,3] of numbers in [0,1], table f32 [n, layers ENTRY] -> [n,s,s,3], normalised: `layers` operations, one
/// after the other, on whole levels. Histograms are counted in workgroup memory. Sides up to 4096. No gradient: images
/// are data.
#[derive(Clone, Copy, Debug)]
pub struct RandAugment {
    /// Operations of each image.
    pub layers: usize,
    /// How an image that moves is seen.
    pub filter: Filter,
    /// Channel means; what moves into an image has their nearest levels.
    pub mean: [f32; 3],
    /// Channel deviations.
    pub std: [f32; 3],
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    images: u32,
    size: u32,
    row: u32,
    entry: u32,
    mean: [f32; 4],
    inv_std: [f32; 4],
    fill: [f32; 4],
}

impl RandAugment {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let of = |v: [f32; 3]| v.map(|v| T::of(f64::from(v)));
        let op = rand_augment::RandAugment {
            size: io.input_types[0].dims()[1],
            layers: self.layers,
            filter: self.filter,
            mean: of(self.mean),
            inv_std: of(self.std).map(|s| T::one() / s),
        };
        let (x, table) = (io.input(0), io.input(1));
        op.run(x, table, io.output(0));
    }
}

impl Op for RandAugment {
    fn name(&self) -> &'static str {
        "rand_augment"
    }
    fn class(&self) -> Class {
        Class::Augmentation
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let [n, h, w, c] = inputs[0].rank("images")?;
        if h != w || c != 3 || h > 4096 || self.layers == 0 {
            return Err(
                "square images of three channels and at most 4096 px, and an operation".into(),
            );
        }
        let row = self.layers * ENTRY;
        if *inputs[1] != TensorType::f32([n, row]) {
            return Err(format!("the table has {row} numbers an image"));
        }
        Ok(vec![inputs[0].clone()])
    }
    fn gradient(
        &self,
        _g: &mut Graph,
        _node: NodeId,
        _dy: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        Ok(vec![None; 2])
    }
    fn workspace(&self, inputs: &[&TensorType], _limits: &Limits) -> Vec<TensorType> {
        // Levels between operations; a third operation reads what the first one read into.
        vec![inputs[0].clone(); (self.layers - 1).min(2)]
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let (x, table, y) = (&io.inputs[0], &io.inputs[1], &io.outputs[0]);
        let pad = |v: [f32; 3]| [v[0], v[1], v[2], 0.0];
        for r in row_chunks(&[x, table, y], rec.limits()) {
            let rows = |v: &View| v.rows(r.clone());
            let table = rows(table);
            for layer in 0..self.layers {
                let (first, last) = (layer == 0, layer + 1 == self.layers);
                let from = if first {
                    x
                } else {
                    &io.workspace[(layer - 1) % 2]
                };
                let to = if last { y } else { &io.workspace[layer % 2] };
                let p = Params {
                    images: r.len() as u32,
                    size: x.dims()[1] as u32,
                    row: (self.layers * ENTRY) as u32,
                    entry: (layer * ENTRY) as u32,
                    mean: pad(self.mean),
                    inv_std: pad(self.std.map(|s| 1.0 / s)),
                    fill: pad(self.mean.map(|m| (m * 255.0 + 0.5).floor().min(255.0))),
                };
                let k = kernel!("rand_augment", "main")
                    .flag("BICUBIC", self.filter == Filter::Bicubic)
                    .flag("FIRST", first)
                    .flag("LAST", last);
                rec.dispatch(&k, &p, &[&rows(from), &table, &rows(to)], r.len())?;
            }
        }
        Ok(())
    }
    twin!();
}
