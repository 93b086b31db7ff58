//! Sums over the rows of [M,C], and maps with factors a channel: how threads are laid over them
//! (`shaders/lib/channels.wgsl`).

use crate::device::Limits;
use crate::device::recording::{Kernel, Recorder, View, row_chunks_of};
use crate::graph::{DType, Result, TensorType};

/// Mirrors `Params` of the shader.
#[repr(C)]
#[derive(Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct Params {
    pub m: u32,
    pub c: u32,
    pub rows: u32,
    pub first: u32,
    pub lanes: u32,
    pub blocks: u32,
    pub groups: u32,
    pub runs: u32,
    pub span: u32,
    pub rounds: u32,
    pub total: u32,
    pub size: u32,
    pub eps: f32,
    pub inv_m: f32,
    pub r: [u32; 2],
}

/// Threads of a group.
const THREADS: usize = 256;
/// Groups that a large sum is cut into: several for each processor of a large GPU, few enough for their results to be
/// merged by one group a channel.
const GROUPS: usize = 1024;
/// Rows a thread of a sum takes, in units of [`flight`]: so many that merging its group's threads costs little.
const LEAST: usize = 2;
/// So few that its sums keep their digits (`shaders/batch_norm.wgsl`).
const MOST: usize = 256;

/// Reads of a tensor that a thread has in flight; mirrors `FLIGHT` of the shader.
fn flight(half: bool) -> usize {
    if half { 8 } else { 4 }
}

/// Rows and channels of [..,c].
pub(super) fn matrix(d: &[usize]) -> (usize, usize) {
    let c = d.last().copied().unwrap_or(1).max(1);
    (d.iter().product::<usize>() / c, c)
}

/// Channels of a column, and columns of c channels.
fn columns(c: usize) -> (usize, usize) {
    if c.is_multiple_of(4) {
        (4, c / 4)
    } else {
        (1, c)
    }
}

/// How groups of 256 threads lie on [m,c].
pub(super) struct Sums {
    vec4: bool,
    columns: usize,
    lanes: usize,
    blocks: usize,
    /// Rows of a run.
    rows: usize,
}

impl Sums {
    /// Runs of a length that suits m rows of floats, or of halves.
    pub fn of(m: usize, c: usize, half: bool) -> Self {
        let mut s = Self::by_rows(0, c);
        let deep = THREADS / s.lanes;
        let fair = m.div_ceil((GROUPS / s.blocks).max(1));
        let least = LEAST * flight(half) * deep;
        s.rows = fair.next_multiple_of(deep).clamp(least, MOST * deep);
        s
    }

    /// Runs of `rows` rows.
    pub fn by_rows(rows: usize, c: usize) -> Self {
        let (wide, columns) = columns(c);
        // A quarter of the threads beside each other at most: 1 KiB of a row.
        let lanes = columns.div_ceil(columns.div_ceil(THREADS / 4));
        Self {
            vec4: wide == 4,
            columns,
            lanes,
            blocks: columns.div_ceil(lanes),
            rows,
        }
    }

    /// Runs of m rows.
    pub fn runs(&self, m: usize) -> usize {
        m.div_ceil(self.rows)
    }

    /// Records `kernel` over m rows, the first of whose runs is number `first` of all pieces; their number.
    pub fn record(
        &self,
        rec: &mut Recorder<'_>,
        kernel: Kernel,
        (m, first): (usize, usize),
        bound: &[&View],
        rest: Params,
    ) -> Result<usize> {
        let runs = self.runs(m);
        let groups = runs * self.blocks;
        let p = Params {
            m: m as u32,
            c: self.columns as u32,
            rows: self.rows as u32,
            first: first as u32,
            lanes: self.lanes as u32,
            blocks: self.blocks as u32,
            groups: groups as u32,
            ..rest
        };
        rec.dispatch(&kernel.flag("VEC4", self.vec4), &p, bound, groups)?;
        Ok(runs)
    }
}

/// Runs of the sums over all pieces of x [..,c], whose rows are cut by its leading dimension.
pub(super) fn runs(x: &TensorType, limits: &Limits) -> usize {
    let d = x.dims();
    let (m, c) = matrix(d);
    let sums = Sums::of(m, c, x.dtype == DType::F16);
    let inner: usize = d[1..d.len() - 1].iter().product();
    row_chunks_of(&[(d, x.dtype.bytes())], limits)
        .iter()
        .map(|r| sums.runs(r.len() * inner))
        .sum()
}

/// Records the kernel that merges the runs' results, a group a channel.
pub(super) fn record_combine(
    rec: &mut Recorder<'_>,
    kernel: &Kernel,
    (runs, c): (usize, usize),
    bound: &[&View],
    rest: Params,
) -> Result<()> {
    let p = Params {
        c: c as u32,
        lanes: 1,
        groups: c as u32,
        runs: runs as u32,
        ..rest
    };
    Ok(rec.dispatch(kernel, &p, bound, c)?)
}

/// Records a map over the elements of x [m,c] (one piece).
pub(super) fn record_map(
    rec: &mut Recorder<'_>,
    kernel: Kernel,
    x: &View,
    bound: &[&View],
    rest: Params,
) -> Result<()> {
    let (m, c) = matrix(x.dims());
    let (wide, columns) = columns(c);
    let (size, span) = (m * columns, columns * (THREADS / columns).max(1));
    let flight = flight(x.is_half());
    // Reading the factors once for eight elements instead of four pays where groups enough remain: 256 and more.
    // Halves are taken by eight anyway.
    let rounds = (size / (flight * THREADS * GROUPS / 4)).clamp(1, 8 / flight);
    let total = size.div_ceil(flight * rounds * span) * span;
    let p = Params {
        c: columns as u32,
        span: span as u32,
        rounds: rounds as u32,
        total: total as u32,
        size: size as u32,
        ..rest
    };
    rec.dispatch(
        &kernel.flag("VEC4", wide == 4),
        &p,
        bound,
        total.div_ceil(THREADS),
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{LEAST, MOST, Sums, THREADS, flight};

    /// Every column and row has a thread, runs are of whole rows of threads, and no thread walks further than what
    /// the sums' accuracy allows.
    #[test]
    fn sums_cover_all_columns_and_rows() {
        let rows = [1, 2, 511, 512, 32_768, 524_288, 2_000_000];
        for c in (1..=1100).chain([2048, 4096, 8192]) {
            for (m, half) in rows.iter().flat_map(|m| [(*m, true), (*m, false)]) {
                let s = Sums::of(m, c, half);
                let channels = s.columns * if s.vec4 { 4 } else { 1 };
                assert!(channels == c && s.lanes <= THREADS / 4, "{m} {c}");
                assert!(s.lanes * s.blocks >= s.columns, "{m} {c}");
                assert!(s.lanes * (s.blocks - 1) < s.columns, "{m} {c}");
                let deep = THREADS / s.lanes;
                assert!(
                    s.rows.is_multiple_of(deep) && s.runs(m) * s.rows >= m,
                    "{m} {c}"
                );
                let least = LEAST * flight(half);
                assert!((least..=MOST).contains(&(s.rows / deep)), "{m} {c}");
            }
        }
    }
}
