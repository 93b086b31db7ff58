//! `fma_probe`: measures the adapter's arithmetic, for the roofline of `bench`. Twin: `reference/fma_probe.rs`.

use crate::device::recording::Recorder;
use crate::graph::{Bindings, Class, Cost, HostIo, Op, Result, TensorType};
use crate::reference::{Scalar, fma_probe};
use crate::{kernel, twin};

/// No inputs -> f32 [groups*64]. No gradient.
#[derive(Clone, Copy, Debug)]
pub struct FmaProbe {
    /// Workgroups.
    pub groups: usize,
    /// Rounds of 8 fused multiply-adds of vec4 a thread.
    pub rounds: usize,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    groups: u32,
    rounds: u32,
    a: f32,
    b: f32,
}

/// Contracting, so that values stay finite.
const A: f32 = 0.999;
const B: f32 = 0.25;

impl FmaProbe {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let (a, b) = (T::of(f64::from(A)), T::of(f64::from(B)));
        fma_probe::fma_probe(self.rounds, a, b, io.output(0));
    }
}

impl Op for FmaProbe {
    fn name(&self) -> &'static str {
        "fma_probe"
    }
    fn class(&self) -> Class {
        Class::Probe
    }
    fn infer(&self, _inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        Ok(vec![TensorType::f32([self.groups * 64])])
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let p = Params {
            groups: self.groups as u32,
            rounds: self.rounds as u32,
            a: A,
            b: B,
        };
        Ok(rec.dispatch(
            &kernel!("fma_probe", "main"),
            &p,
            &[&io.outputs[0]],
            self.groups,
        )?)
    }
    fn cost(&self, _inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        Cost {
            flops: (self.groups * 64 * self.rounds * 8 * 4 * 2) as f64,
            bytes: outputs.iter().map(|t| t.bytes() as f64).sum(),
        }
    }
    twin!();
}
