//! `enqueue`: new keys take the place of the oldest in each head's queue (MoCo). Twin: `reference/enqueue.rs`.

use crate::device::recording::Recorder;
use crate::graph::{Bindings, Class, HostIo, Op, Result, TensorType};
use crate::reference::{Scalar, enqueue};
use crate::{kernel, twin};

/// Input keys [c,b,d]; updates queue [c,k,d], b at most k: key i goes to place (call b + i) mod k, where call = (step
/// `micro_batches` + micro) `each` + `index` counts the calls of the run, so that a queue of any length is filled
/// round and round.
#[derive(Clone, Copy, Debug)]
pub struct Enqueue {
    /// Micro-batches of a step.
    pub micro_batches: usize,
    /// Calls in a micro-batch.
    pub each: usize,
    /// Which of them this is.
    pub index: usize,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    n: u32,
    b: u32,
    k: u32,
    d: u32,
    micro_batches: u32,
    each: u32,
    index: u32,
    key_start: u32,
    queue_start: u32,
    m: u32,
    r: [u32; 2],
}

impl Op for Enqueue {
    fn name(&self) -> &'static str {
        "enqueue"
    }
    fn class(&self) -> Class {
        Class::Optimiser
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let (&[c, b, d], &[qc, k, qd]) = (inputs[0].dims(), inputs[1].dims()) else {
            return Err("needs keys [c,b,d] and a queue [c,k,d]".into());
        };
        if (c, d) != (qc, qd) {
            return Err("keys and queue need equal heads and features".into());
        }
        if b > k || k * b > u32::MAX as usize {
            return Err(format!("{b} keys do not fit a queue of {k}"));
        }
        if c * k * d > u32::MAX as usize {
            return Err(format!(
                "a queue of {c} x {k} x {d} has more elements than 32 bits can count"
            ));
        }
        Ok(Vec::new())
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let (keys, queue) = (&io.inputs[0], &io.updates[0]);
        let k = kernel!("enqueue", "main");
        for from in keys.flat_chunks(rec.limits()) {
            for to in queue.flat_chunks(rec.limits()) {
                let p = Params {
                    n: from.len() as u32,
                    b: keys.dims()[1] as u32,
                    k: queue.dims()[1] as u32,
                    d: keys.dims()[2] as u32,
                    micro_batches: self.micro_batches as u32,
                    each: self.each as u32,
                    index: self.index as u32,
                    key_start: from.start as u32,
                    queue_start: to.start as u32,
                    m: to.len() as u32,
                    r: [0; 2],
                };
                let views = [&keys.flat(from.clone()), &queue.flat(to)];
                rec.dispatch(&k, &p, &views, from.len().div_ceil(64))?;
            }
        }
        Ok(())
    }
    twin!();
}

impl Enqueue {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let keys = io.input(0);
        let (dk, dq) = (io.input_types[0].dims(), io.input_types[1].dims());
        let ([b, k, d], step) = ([dk[1], dq[1], dk[2]], io.step);
        let micro = u64::from(step.step) * self.micro_batches as u64 + u64::from(step.micro);
        let first = enqueue::first(micro * self.each as u64 + self.index as u64, b, k);
        enqueue::enqueue([b, k, d], first, keys, io.updates[0].float());
    }
}
