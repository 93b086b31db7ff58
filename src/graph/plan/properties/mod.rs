//! Properties of plans over random graphs of real ops ([`graphs`]), each plan looked at by a judge ([`machine`]).

mod graphs;
mod machine;

use super::*;
use crate::graph::host::HostExecutor;
use crate::graph::{Executor, HostData, ProgramId, StepScalars};
use crate::reference::philox::{Purpose, Stream};
use graphs::{Made, PARAMS, RESULTS, SUMS, Shared, recipes};
use machine::Machine;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::collections::BTreeMap;

/// Plans two graphs as an executor does, the second with the first one's slots to share. `shorten` changes the first
/// one's live ranges.
fn plans(made: [&Made; 2], device: bool, shorten: impl Fn(&mut Vec<LiveRange>)) -> [Plan; 2] {
    let limits = device.then(limits);
    let options = |pool| PlanOptions {
        typed: !device,
        pool,
        ..PlanOptions::default()
    };
    let order = live_nodes(&made[0].graph, &made[0].fetch);
    let mut ranges = live_ranges(&made[0].graph, &order, &made[0].fetch, limits.as_ref());
    shorten(&mut ranges);
    let first = Plan::lay_out(order, ranges, &options(Vec::new()));
    let second = Plan::new(
        &made[1].graph,
        &made[1].fetch,
        limits.as_ref(),
        &options(pool(&first)),
    );
    [first, second.unwrap()]
}

/// What a program leaves to others.
fn pool(plan: &Plan) -> Vec<(usize, DType)> {
    let free = plan.slots.iter().filter(|s| !s.kept);
    free.map(|s| (s.bytes, s.dtype)).collect()
}

/// Runs both in turns. The pool's numbers are those of the first one's slots that are not kept.
fn judge(made: [&Made; 2], plans: &[Plan; 2]) -> std::result::Result<(), String> {
    let mut machine = Machine::default();
    let first = machine.load(0, made[0], &plans[0], &[]);
    let free = plans[0]
        .slots
        .iter()
        .zip(&first.slots)
        .filter(|(s, _)| !s.kept);
    let pool: Vec<usize> = free.map(|(_, at)| *at).collect();
    let second = machine.load(1, made[1], &plans[1], &pool);
    for p in [&first, &second] {
        p.made
            .inputs
            .iter()
            .try_for_each(|t| machine.write(p, *t))?;
    }
    for (p, other) in [(&first, &second), (&second, &first), (&first, &second)] {
        machine.run(p)?;
        if p.number == 1 {
            machine.kept(other, "after the other's run")?;
        }
    }
    machine.kept(&second, "after the other's run")
}

fn limits() -> Limits {
    Limits {
        max_binding: 1 << 27,
        max_buffer: 1 << 28,
        max_groups: 65535,
        workgroup_memory: 32768,
        subgroups: true,
        f16: true,
        timestamps: false,
        cooperative: Vec::new(),
        faulty_tiles: Vec::new(),
        subgroup: (32, 32),
        is_cpu: false,
        modest_compiler: false,
    }
}

/// Every slot is as long as what lies in it, unless it was there before; and the peak is the new ones' sum.
fn sizes(made: &Made, plan: &Plan) -> std::result::Result<(), String> {
    let tensors = plan.placement.iter().map(|(t, at)| (at, made.graph.ty(*t)));
    let temporaries = plan.workspace.values().flatten().map(|(ty, at)| (at, ty));
    let mut ends = vec![0; plan.slots.len()];
    for (at, ty) in tensors.chain(temporaries) {
        // Halves fill whole words.
        let end = at.offset + ty.bytes().next_multiple_of(4);
        ends[at.slot] = ends[at.slot].max(end);
    }
    let slots = || plan.slots.iter().zip(&ends);
    if let Some((s, end)) = slots().find(|(s, end)| s.bytes != **end) {
        return Err(format!("{s:?} ends at {end}"));
    }
    let new: usize = slots()
        .filter(|(s, _)| s.pool.is_none())
        .map(|(_, end)| end)
        .sum();
    match new == plan.peak_bytes() {
        true => Ok(()),
        false => Err(format!(
            "{new} bytes are laid out, {} planned",
            plan.peak_bytes()
        )),
    }
}

/// The same cases at every run.
fn runner(cases: u32) -> TestRunner {
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

#[test]
fn no_live_tensor_is_overwritten_and_no_node_reads_what_it_writes() {
    let seen = std::cell::RefCell::new(BTreeMap::new());
    let both = (recipes(), recipes(), any::<bool>());
    runner(400)
        .run(&both, |(a, b, device)| {
            let mut shared = Shared::new();
            let made = [shared.make(&a, "a"), shared.make(&b, "b")];
            let made = [&made[0], &made[1]];
            let plans = plans(made, device, |_| ());
            judge(made, &plans).map_err(TestCaseError::fail)?;
            for (m, p) in made.into_iter().zip(&plans) {
                sizes(m, p).map_err(TestCaseError::fail)?;
                prop_assert!(p.peak_bytes() <= p.unpooled);
            }
            let nodes = || made.iter().flat_map(|m| m.graph.nodes());
            let facts = [
                (
                    "shares memory",
                    plans[1].slots.iter().any(|s| s.pool.is_some()),
                ),
                (
                    "has temporaries",
                    plans.iter().any(|p| !p.workspace.is_empty()),
                ),
                (
                    "writes into states",
                    made.iter()
                        .any(|m| m.graph.tensors.iter().any(|t| t.written_into.is_some())),
                ),
                ("updates states", nodes().any(|n| !n.updates.is_empty())),
                ("has a gradient", nodes().any(|n| n.op.name() == "constant")),
                (
                    "recomputes",
                    nodes().any(|n| n.op.name() == "batch_norm_inference"),
                ),
            ];
            for (fact, holds) in facts {
                *seen.borrow_mut().entry(fact).or_insert(0) += u32::from(holds);
            }
            Ok(())
        })
        .unwrap();
    // The cases are what they are meant to be.
    println!("of 400: {:?}", seen.borrow());
    assert!(seen.borrow().values().all(|n| *n >= 10), "{seen:?}");
}

/// The judge's negative control: forgetting a tensor's last reader is found out wherever another tensor takes its
/// place.
#[test]
fn a_lifetime_that_is_one_reader_short_is_found_out() {
    let mut runner = runner(1);
    let (mut shortened, mut moved, mut caught) = (0, 0, 0);
    for _ in 0..40 {
        let recipe = recipes().new_tree(&mut runner).unwrap().current();
        let mut shared = Shared::new();
        let made = shared.make(&recipe, "a");
        let order = live_nodes(&made.graph, &made.fetch);
        let ranges = live_ranges(&made.graph, &order, &made.fetch, None);
        let whole = plans([&made, &made], false, |_| ());
        assert_eq!(judge([&made, &made], &whole), Ok(()));
        for (i, range) in ranges.iter().enumerate() {
            if range.kept() || range.users.len() < 2 {
                continue;
            }
            let plans = plans([&made, &made], false, |ranges| {
                ranges[i].users.pop();
                ranges[i].last = *ranges[i].users.last().unwrap();
            });
            shortened += 1;
            moved += u32::from(plans[0].placement != whole[0].placement);
            caught += u32::from(judge([&made, &made], &plans).is_err());
        }
    }
    assert!(shortened > 100, "{shortened}");
    // Where nothing moved, the plan is as good as it was.
    assert!(
        caught * 2 > moved && moved > 20,
        "{caught} of {moved} of {shortened}"
    );
    println!("{shortened} lifetimes shortened, {moved} plans changed by that, {caught} caught");
}

/// Likewise for inputs and results: their memory given to the other program is found out wherever that one uses it.
#[test]
fn memory_that_is_given_away_is_found_out() {
    let mut runner = runner(1);
    let (mut used, mut caught) = (0, 0);
    for _ in 0..40 {
        let mut shared = Shared::new();
        let made = [(); 2].map(|()| {
            let recipe = recipes().new_tree(&mut runner).unwrap().current();
            shared.make(&recipe, "a")
        });
        let made = [&made[0], &made[1]];
        let [mut first, _] = plans(made, false, |_| ());
        let given: Vec<usize> = (0..first.slots.len())
            .filter(|i| first.slots[*i].kept)
            .collect();
        first.slots.iter_mut().for_each(|s| s.kept = false);
        let options = PlanOptions {
            typed: true,
            pool: pool(&first),
            ..PlanOptions::default()
        };
        let second = Plan::new(&made[1].graph, &made[1].fetch, None, &options).unwrap();
        let uses = |s: &Slot| s.pool.is_some_and(|i| given.contains(&i));
        used += u32::from(second.slots.iter().any(uses));
        caught += u32::from(judge(made, &[first, second]).is_err());
    }
    println!("{used} programs of 40 use the other's inputs or results, {caught} caught");
    assert!(used > 5 && caught == used, "{caught} of {used}");
}

/// What a run makes: fetched tensors of both programs, then all states, as bits.
fn run(mut exec: HostExecutor<f64>, shared: &Shared, made: [&Made; 2]) -> (Vec<Vec<u64>>, u64) {
    exec.allocate_states(&shared.states).unwrap();
    let random = |seed: u32, n: usize| {
        let mut s = Stream::new(3, 0, seed, Purpose::Init);
        HostData::F32((0..n).map(|_| s.normal()).collect())
    };
    for (i, (id, e)) in shared.states.entries(PARAMS).into_iter().enumerate() {
        let values = random(i as u32, e.ty.elements());
        exec.write_state(&shared.states, id, &values).unwrap();
    }
    let programs = made.map(|m| exec.compile(&m.graph, &m.fetch).unwrap());
    let bits = |d: HostData| {
        d.to_f64()
            .into_iter()
            .map(f64::to_bits)
            .collect::<Vec<u64>>()
    };
    let mut out = Vec::new();
    for round in 0..3 {
        let order: [usize; 2] = if round == 1 { [1, 0] } else { [0, 1] };
        for p in order {
            for (i, t) in made[p].inputs.iter().enumerate() {
                let seed = 100 + 10 * round + 2 * p + i;
                let values = random(seed as u32, made[p].graph.ty(*t).elements());
                exec.upload(programs[p], *t, &values).unwrap();
            }
            exec.run(programs[p], &StepScalars::default()).unwrap();
        }
        // Of the first one too, after the second has run.
        for (m, p) in made.into_iter().zip(programs) {
            out.extend(m.fetch.iter().map(|t| bits(exec.fetch(p, *t).unwrap())));
        }
    }
    for group in [PARAMS, SUMS, RESULTS] {
        let ids = shared.states.whole(group);
        out.extend(ids.map(|id| bits(exec.read_state(&shared.states, id).unwrap())));
    }
    let laid_out: usize = programs
        .iter()
        .map(|p: &ProgramId| exec.plan(*p).peak_bytes())
        .sum();
    let states: usize = shared.states.groups().iter().map(|g| 4 * g.len).sum();
    assert_eq!(exec.allocated_bytes(), (laid_out + states) as u64);
    (out, laid_out as u64)
}

#[test]
fn shared_memory_changes_no_result() {
    let less = std::cell::Cell::new(0);
    runner(150)
        .run(&(recipes(), recipes()), |(a, b)| {
            let mut shared = Shared::new();
            let made = [shared.make(&a, "a"), shared.make(&b, "b")];
            let made = [&made[0], &made[1]];
            let (got, bytes) = run(HostExecutor::new(), &shared, made);
            // Every tensor in a slot of its own, full of NaN before it is written.
            let (want, most) = run(HostExecutor::new().poisoned(), &shared, made);
            prop_assert_eq!(got, want);
            less.set(less.get() + u32::from(bytes < most));
            Ok(())
        })
        .unwrap();
    assert!(
        less.get() > 100,
        "memory is shared in {} cases of 150",
        less.get()
    );
}
