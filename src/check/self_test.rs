//! The products by cooperative matrices, tried on a device before they are used: drivers differ in what they make of
//! them (wgpu declares the feature experimental).

use super::{Case, Feed, Harness};
use crate::device::{Choice, Device, DeviceError, Options, TileChoices};
use crate::ops::conv2d::Conv2d;
use crate::ops::conv2d_input_grad::Conv2dInputGrad;
use crate::ops::conv2d_weight_grad::Conv2dWeightGrad;
use crate::ops::gemm::Gemm;
use crate::ops::tiles::TILES;
use std::sync::Arc;

/// A few products and convolutions over several tiles, with edges that are no multiple of a fragment; one of whole
/// sixteens, summed over a batch.
fn cases(half: bool) -> Vec<Case> {
    let (m, n, k) = (260, 196, 84);
    let mut v: Vec<Case> = [(false, true), (true, false)]
        .map(|(trans_a, trans_b)| {
            let a = if trans_a { [k, m] } else { [m, k] };
            let b = if trans_b { [n, k] } else { [k, n] };
            let op = Gemm {
                trans_a,
                trans_b,
                ..Gemm::default()
            };
            Case::new(op, vec![Feed::uniform(a), Feed::uniform(b)]).depth(k)
        })
        .into();
    let summed = Gemm {
        sum_batch: true,
        ..Gemm::default()
    };
    let pair = vec![Feed::uniform([2, 130, 96]), Feed::uniform([2, 96, 66])];
    v.push(Case::new(summed, pair).depth(192));
    let (x, w, y) = ([5, 9, 11, 36], [76, 3, 3, 36], [5, 9, 11, 76]);
    let [x_feed, w_feed, y_feed] = [x, w, y].map(Feed::uniform);
    let (stride, padding) = (1, 1);
    let forward = Conv2d { stride, padding };
    let by_input = Conv2dInputGrad {
        input: x.into(),
        stride,
        padding,
    };
    let by_weight = Conv2dWeightGrad {
        weight: w.into(),
        stride,
        padding,
    };
    v.push(Case::new(forward, vec![x_feed.clone(), w_feed.clone()]).depth(9 * 36));
    v.push(Case::new(by_input, vec![y_feed.clone(), w_feed]).depth(9 * 76));
    v.push(Case::new(by_weight, vec![x_feed, y_feed]).depth(5 * 9 * 11));
    match half {
        true => v.into_iter().map(|c| c.in_f16(&[0, 1])).collect(),
        false => v,
    }
}

/// The tiles by cooperative matrices that suit operands in f16 (`half`) or f32.
fn usable(device: &Device, half: bool) -> Vec<usize> {
    let suits = |t: &usize| TILES[*t].is_cooperative() && TILES[*t].suits(&device.limits, half);
    (0..TILES.len()).filter(suits).collect()
}

/// Runs the cases with every such tile; those that failed, each with the first of what went wrong.
pub fn cooperative(device: &Arc<Device>, half: bool) -> Vec<(usize, String)> {
    let before = device.tiles();
    let harness = Harness::Gpu(device.clone());
    let mut faults = Vec::new();
    for tile in usable(device, half) {
        device.set_tiles(TileChoices {
            all: Some(tile),
            ..TileChoices::default()
        });
        let failed = |c: &Case| {
            let o = harness.run(c);
            (!o.passed()).then(|| format!("{}: {}", o.title, o.fault))
        };
        faults.extend(cases(half).iter().find_map(failed).map(|f| (tile, f)));
    }
    device.set_tiles(before);
    faults
}

/// Opens the chosen device for work on f32, with `half` on f16 too. Where tiles by cooperative matrices fail the test it
/// is opened again without these, or without such matrices where none is left, and `tell` says so.
///
/// # Errors
/// As [`Device::open`].
pub fn open(
    choice: &Choice,
    options: Options,
    half: bool,
    tell: &mut dyn FnMut(String),
) -> Result<Arc<Device>, DeviceError> {
    let without = Options {
        no_cooperative: true,
        ..options.clone()
    };
    let device = match Device::open(choice, options.clone()) {
        // A driver may refuse the experimental feature and all that comes with it.
        Err(e) => return Device::open(choice, without).map_err(|_| e),
        Ok(device) => device,
    };
    let widths = [false, true].into_iter().take(1 + usize::from(half));
    let tried: usize = widths.clone().map(|half| usable(&device, half).len()).sum();
    let faults: Vec<(usize, String)> = widths.flat_map(|h| cooperative(&device, h)).collect();
    let Some((_, fault)) = faults.first() else {
        return Ok(device);
    };
    let (name, failed) = (&device.report.name, faults.len());
    if failed == tried {
        tell(format!(
            "{name}: its cooperative matrices fail their test and are not used ({fault})"
        ));
        return Device::open(choice, without);
    }
    tell(format!(
        "{name}: {failed} of {tried} tiles by cooperative matrices fail their test and are not used ({fault})"
    ));
    let without_tiles = faults.iter().map(|(tile, _)| *tile).collect();
    Device::open(
        choice,
        Options {
            without_tiles,
            ..options
        },
    )
}
