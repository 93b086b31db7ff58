//! The case table on software Vulkan and on the CPU executor; its gradients; its negative controls.
//!
//! The adapter is `AMCL_TEST_DEVICE` (a name, as `--device` takes it) or lavapipe. A missing adapter FAILS these tests, with a message that
//! says what to install: nothing is skipped.

use amcl_wgpu::check::{self, Case, Harness, gradient, harness};
use amcl_wgpu::device::{Choice, Device, Options};
use amcl_wgpu::ops::tiles::TILES;

fn choice() -> Choice {
    let name = std::env::var("AMCL_TEST_DEVICE").unwrap_or_else(|_| "llvmpipe".into());
    name.parse()
        .expect("AMCL_TEST_DEVICE is a device as --device takes it")
}

fn device(options: Options) -> std::sync::Arc<Device> {
    Device::open(&choice(), options)
        .unwrap_or_else(|e| panic!("these tests need a Vulkan adapter: {e}"))
}

fn run_table(harness: &Harness) {
    run_cases(harness, &check::table());
}

fn run_cases(harness: &Harness, cases: &[Case]) {
    let mut faults = Vec::new();
    for c in cases {
        let o = harness.run(c);
        if !o.passed() {
            faults.push(format!("{}: {}", o.title, o.fault));
        }
    }
    assert!(
        faults.is_empty(),
        "{} of {} cases failed:\n{}",
        faults.len(),
        cases.len(),
        faults.join("\n")
    );
}

#[test]
fn kernels_equal_their_twins_with_bounds_checks() {
    for gpu_kernels in [false, true] {
        run_table(&Harness::Gpu(device(Options {
            checked: true,
            gpu_kernels,
            ..Options::default()
        })));
    }
}

/// The table runs one tile a shape: the one that `ops::tiles` chooses. Training may time and choose any other. Tiles by
/// cooperative matrices are left out: `amcl-wgpu check` runs them on adapters that have them.
#[test]
fn every_tile_gives_the_twins_results() {
    let mut cases = check::table();
    cases.retain(Case::is_tiled);
    assert!(!cases.is_empty());
    for tile in (0..TILES.len()).filter(|t| !TILES[*t].is_cooperative()) {
        println!("tile {tile}");
        run_cases(
            &Harness::Gpu(device(Options {
                checked: true,
                gpu_kernels: true,
                variant: Some(tile),
                ..Options::default()
            })),
            &cases,
        );
    }
}

#[test]
fn kernels_equal_their_twins_as_in_training() {
    run_table(&Harness::Gpu(device(Options::default())));
}

/// Bindings of 64 KiB instead of 128 MiB or more: most tensors of the larger cases exceed them. What cannot be split must say so, and be one of the few ops that
/// bind a weight or a whole matrix.
#[test]
fn tensors_larger_than_a_binding_are_split() {
    const BINDING: usize = 1 << 16;
    const WHOLE: [&str; 8] = [
        "conv2d",
        "conv2d_input_grad",
        "conv2d_weight_grad",
        "gemm",
        "column_sum",
        "barlow_loss",
        "standardize_columns",
        "standardize_columns_grad",
    ];
    for gpu_kernels in [false, true] {
        let harness = Harness::Gpu(device(Options {
            max_binding: Some(BINDING),
            gpu_kernels,
            ..Options::default()
        }));
        let (mut split, mut refused, mut faults) = (0, 0, Vec::new());
        for c in check::table() {
            let large = c
                .inputs
                .iter()
                .chain(&c.updates)
                .any(|f| f.ty.bytes() > BINDING);
            let o = harness.run(&c);
            let cannot = o.fault.contains("cannot split");
            if !(o.passed() || cannot && WHOLE.contains(&c.op.name())) {
                faults.push(format!("{}: {}", o.title, o.fault));
            }
            split += usize::from(large && o.passed());
            refused += usize::from(cannot);
        }
        assert!(faults.is_empty(), "{}", faults.join("\n"));
        println!("{split} cases with a tensor over one binding were split, {refused} refused");
        assert!(
            split > 25 && refused < 50,
            "{split} split, {refused} refused"
        );
    }
}

#[test]
fn twins_in_f32_equal_twins_in_f64() {
    run_table(&Harness::Cpu);
}

#[test]
fn gradient_rules_equal_central_differences() {
    let mut faults = Vec::new();
    let mut checked = 0;
    for c in check::table()
        .iter()
        .filter(|c| !c.differentiable.is_empty())
    {
        checked += 1;
        if let Err(e) = gradient::check(c) {
            faults.push(e);
        }
    }
    assert!(checked > 0, "no case asks for a gradient check");
    assert!(
        faults.is_empty(),
        "{} of {checked} failed:\n{}",
        faults.len(),
        faults.join("\n")
    );
}

#[test]
fn broken_shaders_are_noticed() {
    let table = check::table();
    let mut unnoticed = Vec::new();
    for m in check::mutations() {
        let own: Vec<_> = table
            .iter()
            .filter(|c| c.op.name().starts_with(m.kernel))
            .cloned()
            .collect();
        if let Err(e) = harness::negative_control(&choice(), &m, &own) {
            unnoticed.push(e);
        }
    }
    assert!(unnoticed.is_empty(), "{}", unnoticed.join("\n"));
}

/// A control whose shader no longer takes its inputs fails for a reason that says nothing of the table; one that changes nothing is unnoticed.
#[test]
fn controls_that_prove_nothing_are_refused() {
    let own: Vec<_> = check::table()
        .into_iter()
        .filter(|c| c.op.name() == "mul")
        .collect();
    for (replace, words) in [
        ("a[i]", "does not run"),
        ("a[i] * ", "does not run"),
        ("b[i] * a[i]", "went unnoticed"),
    ] {
        let m = check::Mutation {
            kernel: "mul",
            find: "a[i] * b[i]",
            replace,
        };
        let e = harness::negative_control(&choice(), &m, &own).unwrap_err();
        assert!(e.contains(words), "`{replace}`: {e}");
    }
}
