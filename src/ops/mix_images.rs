//! `mix_images`: images mixed with others, in a box and outside of it: mixup, CutMix, random erasing. Twin:
//! `reference/mix_images.rs`.

use crate::device::recording::{Recorder, row_chunks};
use crate::graph::{Bindings, Class, Graph, HostIo, NodeId, Op, Result, TensorId, TensorType};
use crate::reference::Scalar;
use crate::reference::mix_images::{Mix, ROW};
use crate::{kernel, twin};

/// x [n,h,w,c], others (alike), table [n,5] of share, top, left, height, width -> [n,h,w,c]: inside an image's box the
/// other's pixels, elsewhere share x + (1 - share) other. No gradient: images are data.
///
/// - mixup (Zhang et al., ICLR 2018): x as the others, `reversed`, an empty box.
/// - CutMix (Yun et al., ICCV 2019): the same with share 1 and one box for all.
/// - random erasing (Zhong et al., AAAI 2020): noise as the others, share 1, a box an image.
#[derive(Clone, Copy, Debug)]
pub struct MixImages {
    /// Image i takes image n-1-i of the others, else i.
    pub reversed: bool,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    total: u32,
    width: u32,
    channels: u32,
    image: u32,
}

impl Op for MixImages {
    fn name(&self) -> &'static str {
        "mix_images"
    }
    fn class(&self) -> Class {
        Class::Augmentation
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        match inputs {
            [x, others, table]
                if x.shape.rank() == 4
                    && x == others
                    && **table == TensorType::f32([x.dims()[0], ROW]) =>
            {
                Ok(vec![(*x).clone()])
            }
            _ => Err(format!(
                "needs images [n,h,w,c], others of their shape, and a table [n,{ROW}]"
            )),
        }
    }
    fn gradient(
        &self,
        _g: &mut Graph,
        _node: NodeId,
        _dy: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        Ok(vec![None; 3])
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let [x, others, table, y] = [&io.inputs[0], &io.inputs[1], &io.inputs[2], &io.outputs[0]];
        let (n, kernel) = (x.dims()[0], kernel!("mix_images", "main"));
        let kernel = kernel.flag("REVERSED", self.reversed);
        for r in row_chunks(&[x, others, table, y], rec.limits()) {
            let from = match self.reversed {
                true => n - r.end..n - r.start,
                false => r.clone(),
            };
            let [x, table, y] = [x, table, y].map(|v| v.rows(r.clone()));
            let p = Params {
                total: y.elements() as u32,
                width: y.dims()[2] as u32,
                channels: y.dims()[3] as u32,
                image: (y.elements() / r.len()) as u32,
            };
            let groups = y.elements().div_ceil(64);
            rec.dispatch(&kernel, &p, &[&x, &others.rows(from), &table, &y], groups)?;
        }
        Ok(())
    }
    twin!();
}

impl MixImages {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let dims = io.input_types[0].dims();
        let mix = Mix {
            shape: [dims[1], dims[2], dims[3]],
            reversed: self.reversed,
        };
        let (x, others, table) = (io.input(0), io.input(1), io.input(2));
        mix.run(x, others, table, io.output(0));
    }
}
