//! `amcl_stream_grad`: the manual backward pass of the streamed AMCL loss, which makes the pairs anew. Twin:
//! `reference/amcl_stream_grad.rs`.

use super::amcl_stream::{AmclStream, Bound, Params, Share};
use crate::device::Limits;
use crate::device::recording::{Recorder, View};
use crate::graph::{Bindings, Class, Cost, HostIo, Op, Result, TensorType};
use crate::reference::Scalar;
use crate::reference::amcl_stream_grad::{self, Gradients};
use crate::{kernel, twin};

/// Inputs: z, features, gain, mean, value and index as the loss had them, dloss [c,a], norm [c,a] of all anchors.
/// Outputs: the gradient of the rows of the loss's share, all of them by default: dz as z, and one as each of features,
/// gain and mean that there are.
/// It is whole: what these rows do as columns of other anchors is part of it. (Of gain and mean, of which a pair is
/// both anchors', half of it is: the shares' add up to all.)
#[derive(Clone, Copy, Debug)]
pub struct AmclStreamGrad {
    /// The forward op.
    pub loss: AmclStream,
}

impl Op for AmclStreamGrad {
    fn name(&self) -> &'static str {
        "amcl_stream_grad"
    }
    fn class(&self) -> Class {
        Class::FusedProduct
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let forward = inputs.len().saturating_sub(2);
        let [c, a, d] = self.loss.check(&inputs[..forward])?;
        for t in &inputs[forward..] {
            if t.dims() != [c, a] {
                return Err(format!("dloss and norm should be {:?}", [c, a]));
            }
        }
        let operands = &inputs[..self.loss.operands()];
        let own = self.loss.share.of(a);
        let of = |t: &&TensorType| TensorType::f32([t.dims()[0], own, d]);
        let mut out: Vec<TensorType> = operands.iter().map(of).collect();
        let centre = &inputs[out.len()..self.loss.differentiable()];
        out.extend(centre.iter().map(|t| (*t).clone()));
        Ok(out)
    }
    fn workspace(&self, inputs: &[&TensorType], _limits: &Limits) -> Vec<TensorType> {
        let d = inputs[0].dims();
        let centred = self.loss.centre().map(|_| {
            let tiles = self.loss.share.tiles(d[1]);
            let (packed, sums) = ([d[0], d[1], 4], [d[0], tiles, 2]);
            [TensorType::f32(packed), TensorType::f32(sums)]
        });
        centred.into_iter().flatten().collect()
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let z = &io.inputs[0];
        let (forward, rows) = io.inputs.split_at(io.inputs.len() - 2);
        let (operands, rest) = forward.split_at(self.loss.operands());
        let (centre, selection) = rest.split_at(self.loss.differentiable() - operands.len());
        let heads = operands.get(1).map_or(1, |f| f.dims()[0]);
        let chunks = z.dims()[2].div_ceil(64);
        let mut record = |kernel, of: &AmclStream, bound: &[Bound<'_>], chunks| {
            of.record_heads(rec, kernel, z.dims(), heads, bound, chunks)
        };
        let main = kernel!("amcl_stream_grad", "main");
        let mut bound = vec![Bound::Z(z)];
        bound.extend(operands[1..].iter().map(Bound::Feature));
        if centre.is_empty() {
            bound.extend(rows.iter().map(Bound::Each));
            bound.push(Bound::OwnZ(&io.outputs[0]));
            bound.extend(io.outputs[1..].iter().map(Bound::OwnFeature));
            bound.extend(selection.iter().map(Bound::Each));
            return record(main, &self.loss, &bound, chunks);
        }
        let (packed, sums) = (&io.workspace[0], &io.workspace[1]);
        let mut kept: Vec<Bound<'_>> = rows.iter().map(Bound::Each).collect();
        kept.push(Bound::Packed(packed));
        kept.extend(selection.iter().map(Bound::Each));
        let pack = kernel!("amcl_stream_grad", "pack").flag("PACK", true);
        let of_all = AmclStream {
            share: Share::WHOLE,
            ..self.loss
        };
        record(pack, &of_all, &kept, 1)?;
        bound.extend(centre.iter().map(Bound::Whole));
        bound.extend([
            Bound::Packed(packed),
            Bound::OwnZ(&io.outputs[0]),
            Bound::OwnFeature(&io.outputs[1]),
            Bound::Whole(sums),
        ]);
        record(main, &self.loss, &bound, chunks)?;
        let total = kernel!("amcl_stream_grad", "total").flag("TOTAL", true);
        let tiles = self.loss.share.tiles(z.dims()[1]);
        let p = Params::summing([z.dims()[0], tiles], heads);
        let bound: [&View; 4] = [sums, &centre[0], &io.outputs[2], &io.outputs[3]];
        Ok(rec.dispatch(&total, &p, &bound, 1)?)
    }
    twin!();
    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        // The pairs anew, and their weights times the rows.
        Cost {
            flops: 2.0 * self.loss.product_flops(inputs[0]),
            bytes: inputs.iter().chain(outputs).map(|t| t.bytes() as f64).sum(),
        }
    }
}

impl AmclStreamGrad {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let (form, rows) = self.loss.rows(io);
        let last = io.inputs.len() - 2;
        let saved = (io.input(last), io.input(last + 1));
        let anchors = self.loss.share.anchors(form.n);
        let gradients = match self.loss.differentiable() {
            1 => Gradients {
                dz: io.output(0),
                df: None,
                centre: None,
            },
            2 => {
                let [dz, df] = io.outputs_n();
                Gradients {
                    dz,
                    df: Some(df),
                    centre: None,
                }
            }
            _ => {
                let [dz, df, dgain, dmean] = io.outputs_n();
                Gradients {
                    dz,
                    df: Some(df),
                    centre: Some((&mut dgain[0], dmean)),
                }
            }
        };
        amcl_stream_grad::amcl_stream_grad(&form, &rows, &anchors, saved, gradients);
    }
}
