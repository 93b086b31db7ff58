//! Kind `augmentation`: images of bytes, and what torchvision makes of them. `meta.cases` lists for each result its
//! key, its image and the steps; `config` has the constants of `normalize`.

use super::judge::{Judge, Measure};
use super::{Computer, Result, Subject, Verified};
use crate::fixture::{Fixture, bad};
use crate::graph::{Executor, Graph, HostData, TensorType};
use crate::ops::augment::{Augment, words};
use crate::reference::augment::{
    Adjust, FACTORS, FLIP, Filter, GRAY, ORDER, RADIUS, ROW, SIGMA, SOLARISE, TOP, WIDTH,
    order_code,
};
use serde::Deserialize;

/// The largest difference that passes, of values from 0 to 1: a fortieth of a byte's step. Some hundred operations
/// round such a value by 2^-24 each; a hue is uncertain where colours are nearly gray, but then it changes little.
const BOUND: f64 = 1e-4;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    normalize_mean: [f32; 3],
    normalize_std: [f32; 3],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    key: String,
    image: usize,
    steps: Vec<Step>,
}

/// A call of `torchvision.transforms.functional`, or its random form's draw. A crop's `interpolation` is `bilinear`, or
/// `bicubic` with values clamped after each axis, as [`Filter::Bicubic`] has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, tag = "op", rename_all = "snake_case")]
enum Step {
    ResizedCrop {
        top: f32,
        left: f32,
        height: f32,
        width: f32,
        size: [usize; 2],
        #[serde(default)]
        interpolation: Filter,
    },
    Hflip {},
    Brightness {
        factor: f32,
    },
    Contrast {
        factor: f32,
    },
    Saturation {
        factor: f32,
    },
    Hue {
        factor: f32,
    },
    Grayscale {},
    GaussianBlur {
        kernel: usize,
        sigma: f32,
    },
    Normalize {},
}

/// A list of calls as one row of the op's table, the side of the result, and whether it is normalised.
struct Plan {
    row: [f32; ROW],
    size: usize,
    filter: Filter,
    normalised: bool,
}

impl Plan {
    /// # Errors
    /// Steps in another order than that of the fused kernel, or twice; in words.
    fn of(steps: &[Step], side: usize) -> std::result::Result<Self, String> {
        let mut row = [0.0; ROW];
        let whole = side as f32;
        (row[TOP + 2], row[TOP + 3], row[WIDTH], row[SOLARISE]) = (whole, whole, whole, 2.0);
        let mut plan = Self {
            row,
            size: side,
            filter: Filter::Bilinear,
            normalised: false,
        };
        let (mut order, mut last) = (Vec::new(), 0);
        for step in steps {
            let place = plan.take(step, &mut order)?;
            // Adjustments stand in any order among themselves.
            if place < last || (place == last && place != ADJUSTMENTS) {
                return Err(
                    "its steps are not in the order of one pass: crop, flip, adjustments (each once, in any order), \
                     grayscale, blur, normalize"
                        .into(),
                );
            }
            last = place;
        }
        let mut codes = [Adjust::None; 4];
        codes[..order.len()].copy_from_slice(&order);
        plan.row[ORDER] = order_code(codes);
        Ok(plan)
    }

    /// Enters a step; its place in the order of one pass.
    fn take(&mut self, step: &Step, order: &mut Vec<Adjust>) -> std::result::Result<u8, String> {
        let mut adjust = |row: &mut [f32; ROW], what: Adjust, at: usize, factor: f32| {
            row[FACTORS + at] = factor;
            match order.contains(&what) {
                true => Err(format!("{what:?} stands twice among its steps")),
                false => {
                    order.push(what);
                    Ok(ADJUSTMENTS)
                }
            }
        };
        let row = &mut self.row;
        match *step {
            Step::ResizedCrop {
                top,
                left,
                height,
                width,
                size,
                interpolation,
            } => {
                if size[0] != size[1] || size[0] == 0 {
                    return Err(format!("its crop is resized to {size:?}, no square"));
                }
                row[TOP..TOP + 4].copy_from_slice(&[top, left, height, width]);
                (self.size, self.filter) = (size[0], interpolation);
                Ok(1)
            }
            Step::Hflip {} => {
                row[FLIP] = 1.0;
                Ok(2)
            }
            Step::Brightness { factor } => adjust(row, Adjust::Brightness, 0, factor),
            Step::Contrast { factor } => adjust(row, Adjust::Contrast, 1, factor),
            Step::Saturation { factor } => adjust(row, Adjust::Saturation, 2, factor),
            Step::Hue { factor } => adjust(row, Adjust::Hue, 3, factor),
            Step::Grayscale {} => {
                row[GRAY] = 1.0;
                Ok(4)
            }
            Step::GaussianBlur { kernel, sigma } => {
                if kernel.is_multiple_of(2) || sigma <= 0.0 {
                    return Err(format!("its blur has {kernel} taps and sigma {sigma}"));
                }
                row[RADIUS] = (kernel / 2) as f32;
                row[SIGMA] = sigma;
                Ok(5)
            }
            Step::Normalize {} => {
                self.normalised = true;
                Ok(6)
            }
        }
    }
}

/// Place of the adjustments in the order of one pass.
const ADJUSTMENTS: u8 = 3;

/// An image of planes [3,side,side] as the op's words: pixels, four bytes a word.
fn packed(planes: &[i64], side: usize) -> Vec<u32> {
    let n = 3 * side * side;
    let mut bytes: Vec<u8> = (0..n)
        .map(|i| planes[i % 3 * side * side + i / 3] as u8)
        .collect();
    bytes.resize(words(side, side) * 4, 0);
    bytemuck::pod_collect_to_vec(&bytes)
}

/// The view that the op makes.
fn view(
    exec: &mut dyn Executor,
    op: Augment,
    image: Vec<u32>,
    row: [f32; ROW],
) -> Result<Vec<f64>> {
    let mut g = Graph::new();
    let images = g.input("images", TensorType::u32([1, image.len()]));
    let table = g.input("table", TensorType::f32([1, ROW]));
    let y = g.push1(op, &[images, table])?;
    let inputs = [
        (images, HostData::U32(image)),
        (table, HostData::F32(row.to_vec())),
    ];
    let got = exec.evaluate(&g, &inputs, &[y])?;
    Ok(got.first().map(HostData::to_f64).unwrap_or_default())
}

fn cases(f: &Fixture) -> Result<Vec<Case>> {
    let found = serde_json::from_value(f.meta["cases"].clone());
    Ok(found.map_err(|e| bad(format!("meta.cases: {e}")))?)
}

pub(super) fn verify(subject: &Subject, computer: &Computer) -> Result<Verified> {
    let f = &subject.fixture;
    let settings: Settings = f.config(&["size", "n", "seed"])?;
    let mut judge = Judge::new(f, computer.grade());
    let mut exec = computer.executor();
    let [n, channels, side, width] = f.rank("images")?;
    if channels != 3 || side != width {
        return Err(bad("`images` are no squares [n,3,s,s]").into());
    }
    let images = f.integers("images", &[n, 3, side, side])?;
    judge.read("images");
    for case in cases(f)? {
        let key = &case.key;
        let plan = Plan::of(&case.steps, side).map_err(|e| bad(format!("`{key}`: {e}")))?;
        let at = |i: usize| plan.row[TOP + i];
        let inside = [0, 1].iter().all(|i| {
            let (first, length) = (at(*i), at(i + 2));
            first >= 0.0 && length >= 1.0 && first + length <= side as f32
        });
        if !inside || plan.row[RADIUS] >= plan.size as f32 {
            return Err(bad(format!(
                "`{key}`: its crop or its blur reaches beyond the image"
            ))
            .into());
        }
        if case.image >= n {
            return Err(bad(format!("`{key}` is of image {}, of {n}", case.image)).into());
        }
        let (mean, std) = match plan.normalised {
            true => (settings.normalize_mean, settings.normalize_std),
            false => ([0.0; 3], [1.0; 3]),
        };
        let size = plan.size;
        let op = Augment {
            height: side,
            width: side,
            size,
            filter: plan.filter,
            blur: plan.row[RADIUS] > 0.0,
            mean,
            std,
        };
        let planes = &images[case.image * 3 * side * side..][..3 * side * side];
        let want = f.reals(key, &[3, size, size])?;
        let got = view(exec.as_mut(), op, packed(planes, side), plan.row)?;
        // A normalised value is 1/std times as large; the bound is on the image's scale.
        let differences = got.iter().enumerate().map(|(i, v)| {
            let (channel, pixel) = (i % 3, i / 3);
            (v - want[channel * size * size + pixel]).abs() * f64::from(std[channel])
        });
        // As `f64::max`, but a NaN stays.
        let largest = differences.fold(0.0, |a: f64, b| if a >= b { a } else { b });
        judge.read(key);
        judge.add(key, (Measure::Largest, largest), BOUND);
    }
    judge.finish()
}
