//! No op that does matrix work is left out of a step's operations: classes are judged by the costs of the case table.

use amcl_wgpu::check;
use amcl_wgpu::graph::{Class, TensorType};
use std::collections::BTreeMap;

/// Operations of one case and the elements that it reads and writes, and those that it writes.
struct Work {
    flops: f64,
    touched: usize,
    written: usize,
}

/// What a step's operations and the device's utilisation would count wrongly for an op of this class, from all its
/// cases.
fn miscounted(class: Class, cases: &[Work]) -> Option<&'static str> {
    // An optimiser does some twenty operations an element; a matrix product does twice as many as its inner dimension.
    const LINEAR: f64 = 32.0;
    if class.is_matrix_work() {
        let default = cases.iter().all(|w| w.flops < 2.0 * w.written as f64);
        return default.then_some("is matrix work and has the default cost");
    }
    let heavy = cases.iter().any(|w| w.flops > LINEAR * w.touched as f64);
    (heavy && class != Class::Probe).then_some("does matrix work and would count as none")
}

#[test]
fn no_matrix_work_is_left_out_of_a_steps_operations() {
    let mut ops: BTreeMap<&str, (Class, Vec<Work>)> = BTreeMap::new();
    for c in check::table() {
        let types: Vec<&TensorType> = c.inputs.iter().chain(&c.updates).map(|f| &f.ty).collect();
        let outputs = c.op.infer(&types).unwrap();
        let cost = c.op.cost(&types, &outputs.iter().collect::<Vec<_>>());
        let written: usize = outputs.iter().map(TensorType::elements).sum();
        let read: usize = types.iter().map(|t| t.elements()).sum();
        let row = ops.entry(c.op.name());
        row.or_insert((c.op.class(), Vec::new())).1.push(Work {
            flops: cost.flops,
            touched: read + written,
            written,
        });
    }
    let faults = ops.iter().filter_map(|(name, (class, cases))| {
        miscounted(*class, cases).map(|fault| format!("{name} {fault}"))
    });
    let faults: Vec<String> = faults.collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let counted = |name: &str| ops[name].0.is_matrix_work();
    assert!(counted("gemm") && counted("barlow_stream_grad") && !counted("adamw"));
    // An attention over 197 tokens of width 384, batch 8: classed as elementwise, or without a cost of its own.
    let (rows, width) = (8 * 197, 384);
    let judge = |class, flops: usize| {
        let work = Work {
            flops: flops as f64,
            touched: 4 * rows * width,
            written: rows * width,
        };
        miscounted(class, &[work])
    };
    let products = 4 * rows * 197 * width;
    assert!(judge(Class::Elementwise, products).is_some());
    assert!(judge(Class::FusedProduct, rows * width).is_some());
    assert!(judge(Class::FusedProduct, products).is_none());
}
