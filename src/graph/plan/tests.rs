use super::*;

fn range(bytes: usize, users: &[usize], kept: bool) -> LiveRange {
    LiveRange {
        bytes,
        dtype: DType::F32,
        first: users[0],
        last: if kept {
            usize::MAX
        } else {
            users[users.len() - 1]
        },
        users: users.to_vec(),
        owner: Owner::Tensor(TensorId(0)),
        name: bytes.to_string(),
    }
}

/// Forward and backward passes of layers that shrink: layer i makes a tensor at node i, which node 2 n - i reads again.
/// A gradient lives from one node to the next.
fn network(layers: usize) -> Vec<LiveRange> {
    let mut v = Vec::new();
    for i in 0..layers {
        let (bytes, back) = (1 << (20 - i), 2 * layers - i);
        v.push(range(bytes, &[i, i + 1, back], false));
        v.push(range(bytes, &[back, back + 1], false));
        v.push(range(1 << 10, &[back], false));
        v.push(range(100, &[i], true));
    }
    v
}

/// The first pair of ranges whose places clash.
fn clash(ranges: &[LiveRange], locations: &[Location]) -> Option<(usize, usize)> {
    let bad = |i: usize, j: usize| {
        let (a, b, s, t) = (&ranges[i], &ranges[j], locations[i], locations[j]);
        let overlap = s.offset < t.offset + b.bytes && t.offset < s.offset + a.bytes;
        s.slot == t.slot && (a.shares_a_node(b) || a.overlaps(b) && overlap)
    };
    let pairs = || (0..ranges.len()).flat_map(|i| (0..i).map(move |j| (i, j)));
    pairs().find(|(i, j)| bad(*i, *j))
}

#[test]
fn places_never_clash_and_waste_little() {
    let ranges = network(8);
    let (slots, locations) = assign(&ranges, &PlanOptions::default());
    assert_eq!(clash(&ranges, &locations), None);
    for (n, s) in ranges.iter().zip(&locations) {
        assert!(s.offset % ALIGNMENT == 0 && s.offset + n.bytes <= slots[s.slot].bytes);
    }
    // The judge judges: one place for all is found out.
    assert!(clash(&ranges, &vec![Location::default(); ranges.len()]).is_some());
    // The slots are little more than what is live at once at worst: a gradient of the first layer reuses what later
    // layers saved, side by side.
    let live = |t: usize| -> usize {
        let alive = ranges.iter().filter(|n| n.first <= t && t <= n.last);
        alive.map(|n| n.bytes).sum()
    };
    let most = (0..20).map(live).max().unwrap_or(0);
    let bytes: usize = slots.iter().map(|s| s.bytes).sum();
    assert!(
        bytes >= most && bytes * 10 <= most * 12,
        "{bytes} of {most}"
    );
    let own = PlanOptions {
        no_reuse: true,
        ..PlanOptions::default()
    };
    assert_eq!(assign(&ranges, &own).0.len(), ranges.len());
}

#[test]
fn another_program_uses_what_is_there() {
    let ranges = network(4);
    let first = assign(&ranges, &PlanOptions::default()).0;
    let free = first.iter().filter(|s| !s.kept);
    let options = PlanOptions {
        pool: free.map(|s| (s.bytes, s.dtype)).collect(),
        ..PlanOptions::default()
    };
    let (slots, locations) = assign(&ranges, &options);
    assert_eq!(clash(&ranges, &locations), None);
    // New are only those that keep their contents; a piece is one slot's and holds it.
    assert!(slots.iter().all(|s| s.pool.is_none() == s.kept));
    let mut pieces: Vec<usize> = slots.iter().filter_map(|s| s.pool).collect();
    pieces.sort_unstable();
    assert!(pieces.windows(2).all(|w| w[0] < w[1]), "{pieces:?}");
    let holds = |s: &Slot| s.pool.is_none_or(|i| options.pool[i].0 >= s.bytes);
    assert!(slots.iter().all(holds));
    // A piece of another type, or too small a one, is not used.
    let small = PlanOptions {
        typed: true,
        pool: vec![(1 << 30, DType::U32), (64, DType::F32)],
        ..PlanOptions::default()
    };
    assert!(assign(&ranges, &small).0.iter().all(|s| s.pool.is_none()));
}
