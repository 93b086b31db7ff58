//! A kernel of one's own as an op of the graph: WGSL for GPUs (`custom_kernel.wgsl`) and its twin for the CPU.
//!
//!     cargo run --example custom_kernel
//!
//! The kernel is judged as the library's own are: its result against the twin in f64, on the first adapter or, where
//! there is none, the CPU executor in f32; what it leaves unwritten and what it writes past the end are found. To be
//! trained through, the op also needs `Op::gradient`, which appends the gradient's nodes.

use amcl_wgpu::prelude::*;

#[derive(Debug)]
struct Swish;

impl Op for Swish {
    fn name(&self) -> &'static str {
        "swish"
    }
    fn class(&self) -> Class {
        Class::Elementwise
    }
    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        Ok(vec![inputs[0].clone()])
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<(), GraphError> {
        let n = io.outputs[0].elements();
        let kernel = Kernel::new("swish", include_str!("custom_kernel.wgsl"), "main");
        let views = [&io.inputs[0], &io.outputs[0]];
        Ok(rec.dispatch(&kernel, &[n as u32, 0, 0, 0], &views, n.div_ceil(64))?)
    }
    amcl_wgpu::twin!();
}

impl Swish {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let x = io.input(0);
        for (y, x) in io.output(0).iter_mut().zip(x) {
            *y = *x / (T::one() + (-*x).exp());
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // An error of the argument of exp is one of the result: up to 10 units of the last place.
    let case = Case::new(Swish, vec![Feed::range([1000], -10.0, 10.0)]).condition(4.0);
    let harness = Harness::open(&Choice::Index(0), Options::default()).unwrap_or(Harness::Cpu);
    let outcome = harness.run(&case);
    println!("{outcome}");
    outcome.passed().then_some(()).ok_or(outcome.fault.into())
}
