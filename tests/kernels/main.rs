//! The case table on software Vulkan and on the CPU executor; its gradients; its negative controls. Each case is a test
//! of its own name under each harness, so that `cargo test --test kernels gemm` runs what concerns `gemm`.
//!
//! The adapter is `AMCL_TEST_DEVICE` (a name, as `--device` takes it) or lavapipe. A missing adapter FAILS these tests,
//! with a message that says what to install. `AMCL_TEST_SHARE=N` runs every N-th case and control of each op, its first
//! ones among them; `AMCL_TEST_SHARE=1` all under each harness. If it is not set, and no test is named, the table runs
//! whole where it is bounds-checked, on the CPU and in gradients, as do all controls, and every fourth case of each op
//! in the other modes, each mode beginning at another one: they run what the first two do with another limit, tile or
//! policy, and take half of the time.

mod coverage;
mod exceptions;

use amcl_wgpu::check::{self, Case, Harness, Mutation, Outcome, gradient, harness};
use amcl_wgpu::device::{Choice, Device, Options};
use amcl_wgpu::ops::tiles::TILES;
use libtest_mimic::{Arguments, Failed, FormatSetting, Trial};
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// How many of the modes run the whole table by default: those that are bounds-checked.
const WHOLE_MODES: usize = 2;

/// Bindings of 64 KiB instead of 128 MiB or more: most tensors of the larger cases exceed them.
const SMALL_BINDING: usize = 1 << 16;

fn main() -> ExitCode {
    let mut args = Arguments::from_args();
    if args.format.is_none() && args.filter.is_none() && !args.list {
        // A line a test would be thousands of lines.
        args.format = Some(FormatSetting::Terse);
    }
    libtest_mimic::run(&args, trials(args.filter.is_some() || args.list)).exit_code()
}

/// All tests. `named`: some are asked for by name.
fn trials(named: bool) -> Vec<Trial> {
    let name = std::env::var("AMCL_TEST_DEVICE").unwrap_or_else(|_| "llvmpipe".into());
    let choice: Choice = name
        .parse()
        .expect("AMCL_TEST_DEVICE is a device as --device takes it");
    let share = std::env::var("AMCL_TEST_SHARE").ok().map(|n| {
        n.parse()
            .ok()
            .filter(|n| *n > 0)
            .expect("AMCL_TEST_SHARE is a number from 1")
    });
    let all_modes = named || share.is_some();
    let share = share.unwrap_or(1);
    let whole: Arc<[Case]> = check::table().into();
    let cases = check::every(share, whole.to_vec(), |c| c.op.name());
    let mutations = check::every(share, check::mutations(), |m| m.kernel);
    let two_buffers = check::every(share, check::two_buffer_mutations(), |m| m.kernel);

    if !all_modes {
        eprintln!("other tiles and limits: every fourth case of each op (AMCL_TEST_SHARE=1: all)");
    }
    let cases_of = |mode: usize| match mode.checked_sub(WHOLE_MODES) {
        Some(other) if !all_modes => quarter(&cases, other),
        _ => cases.clone(),
    };
    let mut all = coverage::trials(&whole);
    let modes = modes();
    let tables = modes.len();
    for (number, (mode, options)) in modes.into_iter().enumerate() {
        let forced = options.forced_tile.is_some();
        let device = Opened::new(&choice, options);
        let cases = cases_of(number);
        // A forced tile concerns the tiled kernels alone.
        let own = cases.iter().filter(|c| !forced || c.is_tiled());
        all.extend(own.map(|c| {
            let (device, c) = (device.clone(), c.clone());
            let title = format!("{name}/{mode}/{}", c.title());
            Trial::test(title, move || equals_its_twin(&device.harness()?, &c))
        }));
    }
    let small = [("small-bindings", false), ("small-bindings-gpu", true)];
    for (number, (mode, gpu_kernels)) in (tables..).zip(small) {
        let options = Options {
            max_binding: Some(SMALL_BINDING),
            gpu_kernels,
            ..Options::default()
        };
        let device = Opened::new(&choice, options);
        all.extend(cases_of(number).iter().map(|c| {
            let (device, c) = (device.clone(), c.clone());
            let title = format!("{name}/{mode}/{}", c.title());
            Trial::test(title, move || is_split(device.harness()?.run(&c)))
        }));
    }
    all.extend(cases.iter().map(|c| {
        let c = c.clone();
        let title = format!("cpu/{}", c.title());
        Trial::test(title, move || equals_its_twin(&Harness::Cpu, &c))
    }));
    let differentiable = cases.iter().filter(|c| !c.differentiable.is_empty());
    all.extend(differentiable.map(|c| {
        let c = c.clone();
        let title = format!("gradient/{}", c.title());
        Trial::test(title, move || {
            gradient::check(&c).map(|_| ()).map_err(Failed::from)
        })
    }));
    let mutations = mutations.into_iter().map(|m| (m, false));
    let controls = mutations.chain(two_buffers.into_iter().map(|m| (m, true)));
    all.extend(controls.map(|(m, two_buffers)| {
        let (whole, choice) = (whole.clone(), choice.clone());
        Trial::test(control_title(&name, &m), move || {
            is_noticed(&choice, &whole, &m, two_buffers)
        })
    }));
    let table = whole.clone();
    all.push(Trial::test("refusals are judged", move || {
        refusals_are_judged(&table)
    }));
    let proves_nothing = move || controls_that_prove_nothing_are_refused(&choice, &whole);
    all.push(Trial::test(
        "controls that prove nothing are refused",
        proves_nothing,
    ));
    all
}

/// Every fourth case of each op from its `first` one on, which is counted modulo four; of each op one case at least.
fn quarter(cases: &[Case], first: usize) -> Vec<Case> {
    let mut of_op: BTreeMap<&str, Vec<&Case>> = BTreeMap::new();
    for c in cases {
        of_op.entry(c.op.name()).or_default().push(c);
    }
    let chosen = of_op.into_values().flat_map(|own| {
        let first = first % own.len().min(4);
        own.into_iter().skip(first).step_by(4).cloned()
    });
    chosen.collect()
}

/// How a device runs the table. A CPU driver has kernels of its own: they and those for GPUs run bounds-checked.
/// `as-in-training` are the kernels that the driver gets. The table runs one tile a shape, the one that `ops::tiles`
/// chooses, but training may time and choose any other: each is forced in turn. Tiles by cooperative matrices are left
/// out: `amcl-wgpu check` runs them on adapters that have them.
fn modes() -> Vec<(String, Options)> {
    let checked = |gpu_kernels| Options {
        checked: true,
        gpu_kernels,
        ..Options::default()
    };
    let mut all = vec![
        ("bounds-checked".to_string(), checked(false)),
        ("bounds-checked-gpu".to_string(), checked(true)),
        ("as-in-training".to_string(), Options::default()),
    ];
    let tiles = (0..TILES.len()).filter(|t| !TILES[*t].is_cooperative());
    all.extend(tiles.map(|tile| {
        let forced = Options {
            forced_tile: Some(tile),
            ..checked(true)
        };
        (format!("tile-{tile}"), forced)
    }));
    all
}

thread_local! {
    /// Number of this thread among those that tests run on.
    static THREAD: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed)
    };
}

/// Devices of a kind, each opened when its first test needs it. A CPU driver compiles shaders, which is most of the
/// work here, on its queue's one thread, so that every thread of tests has a device of its own.
struct Opened {
    choice: Choice,
    options: Options,
    devices: Vec<OnceLock<Result<Arc<Device>, String>>>,
}

impl Opened {
    fn new(choice: &Choice, options: Options) -> Arc<Self> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Arc::new(Self {
            choice: choice.clone(),
            options,
            devices: vec![OnceLock::new(); threads],
        })
    }

    fn harness(&self) -> Result<Harness, Failed> {
        let open = || {
            Device::open(&self.choice, self.options.clone())
                .map_err(|e| format!("these tests need a Vulkan adapter: {e}"))
        };
        let own = THREAD.with(|t| t % self.devices.len());
        let device = self.devices[own].get_or_init(open).clone();
        Ok(Harness::Gpu(device.map_err(Failed::from)?))
    }
}

fn equals_its_twin(harness: &Harness, case: &Case) -> Result<(), Failed> {
    let outcome = harness.run(case);
    if outcome.passed() {
        return Ok(());
    }
    Err(outcome.fault.into())
}

/// With small bindings a case passes, or says that its op cannot split a tensor: the latter where
/// [`exceptions::BOUND_WHOLE`] lists it, and there always.
fn is_split(outcome: Outcome) -> Result<(), Failed> {
    let refused = outcome.fault.contains("cannot split");
    match exceptions::bound_whole(&outcome.title) {
        Some(_) if refused => Ok(()),
        Some(why) if outcome.passed() => {
            Err(format!("passes, but is listed as one that refuses: {why}").into())
        }
        None if outcome.passed() => Ok(()),
        _ => Err(outcome.fault.into()),
    }
}

/// The control of [`is_split`]: a case that refuses and is not listed, one that is listed and passes, a wrong result.
fn refusals_are_judged(table: &[Case]) -> Result<(), Failed> {
    let listed = exceptions::BOUND_WHOLE[0].1[0];
    let refusal = "this op cannot split it";
    for (title, fault, passes) in [
        (listed, refusal, true),
        (listed, "", false),
        (listed, "wrong", false),
        ("mul", "", true),
        ("mul", refusal, false),
        ("mul", "wrong", false),
    ] {
        let outcome = Outcome {
            title: title.into(),
            fault: fault.into(),
            ..Harness::Cpu.run(&table[0])
        };
        if is_split(outcome).is_ok() != passes {
            return Err(format!("{title}, `{fault}`: judged wrongly").into());
        }
    }
    Ok(())
}

fn control_title(device: &str, m: &Mutation) -> String {
    let one_line = |s: &str| s.split_whitespace().collect::<Vec<_>>().join(" ");
    let (find, replace) = (one_line(m.find), one_line(m.replace));
    format!("{device}/control/{}: `{find}` -> `{replace}`", m.kernel)
}

/// A deliberately broken shader must fail a case of its op.
fn is_noticed(
    choice: &Choice,
    table: &[Case],
    m: &Mutation,
    two_buffers: bool,
) -> Result<(), Failed> {
    let own = table.iter().filter(|c| c.op.name().starts_with(m.kernel));
    let own: Vec<Case> = own.cloned().collect();
    harness::negative_control(choice, m, two_buffers, &own)?;
    Ok(())
}

/// A control whose shader no longer takes its inputs fails for a reason that says nothing of the table; one that
/// changes nothing is unnoticed.
fn controls_that_prove_nothing_are_refused(choice: &Choice, table: &[Case]) -> Result<(), Failed> {
    let own = table.iter().filter(|c| c.op.name() == "mul");
    let own: Vec<Case> = own.cloned().collect();
    for (replace, words) in [
        ("a[i]", "does not run"),
        ("a[i] * ", "does not run"),
        ("b[i] * a[i]", "went unnoticed"),
    ] {
        let m = Mutation {
            kernel: "mul",
            find: "a[i] * b[i]",
            replace,
        };
        match harness::negative_control(choice, &m, false, &own) {
            Err(e) if e.contains(words) => {}
            other => return Err(format!("`{replace}`: {other:?}").into()),
        }
    }
    Ok(())
}
