//! The sheet of augmented views: each row an image as it is, and its two views as the encoder gets them (before
//! normalisation).

use crate::data::augment::Policy;
use crate::data::{Dataset, packed};
use crate::graph::{Executor, Graph, GraphError, HostData, Result, StepScalars, TensorType};
use crate::ops::augment::{Augment, words};
use crate::reference::augment::{FACTORS, FLIP, GRAY, ORDER, RADIUS, ROW, SIGMA, SOLARISE, TOP};
use image::{Rgb, RgbImage, imageops};

/// Least side of a picture on the sheet; smaller ones are enlarged by whole factors, pixel by pixel.
pub(super) const SHOWN: u32 = 96;
/// Pixels between the pictures of a sheet.
pub(super) const CELL_GAP: u32 = 4;

/// A sheet with, for every row, the name of the image and what was drawn for its views.
pub struct Sheet {
    /// Three columns: original, first view, second view.
    pub image: RgbImage,
    /// Name, first view, second view.
    pub rows: Vec<[String; 3]>,
}

impl Sheet {
    /// The sheet as a PNG file (rows of pixels as in [`Sheet::image`]).
    ///
    /// # Errors
    /// None is expected.
    pub fn png(&self) -> Result<Vec<u8>> {
        png(&self.image)
    }
}

/// A picture as a PNG file.
///
/// # Errors
/// None is expected.
pub fn png(image: &RgbImage) -> Result<Vec<u8>> {
    let mut out = std::io::Cursor::new(Vec::new());
    image
        .write_to(&mut out, image::ImageFormat::Png)
        .map_err(|e| GraphError::Invalid(format!("a picture could not be encoded: {e}")))?;
    Ok(out.into_inner())
}

/// Rows of pictures of one side, of pixels from 0 to 1, side by side with gaps between them. Small ones are enlarged.
pub fn grid(rows: &[Vec<Vec<f32>>], side: usize) -> RgbImage {
    let factor = SHOWN.div_ceil(side as u32).max(1);
    let cell = side as u32 * factor;
    let columns = rows.first().map_or(0, Vec::len) as u32;
    let mut sheet = RgbImage::from_pixel(
        columns * (cell + CELL_GAP) + CELL_GAP,
        rows.len() as u32 * (cell + CELL_GAP) + CELL_GAP,
        Rgb([255; 3]),
    );
    let at = |i: usize| i as i64 * i64::from(cell + CELL_GAP) + i64::from(CELL_GAP);
    for (y, row) in rows.iter().enumerate() {
        for (x, pixels) in row.iter().enumerate() {
            let byte = |v: &f32| (v * 255.0).round().clamp(0.0, 255.0) as u8;
            let bytes = pixels.iter().map(byte).collect();
            if let Some(small) = RgbImage::from_raw(side as u32, side as u32, bytes) {
                let large = imageops::resize(&small, cell, cell, imageops::FilterType::Nearest);
                imageops::replace(&mut sheet, &large, at(x), at(y));
            }
        }
    }
    sheet
}

/// What a row of the view table says, in words.
fn describe(row: &[f32], side: (usize, usize)) -> String {
    let whole = row[TOP..TOP + 4] == [0.0, 0.0, side.0 as f32, side.1 as f32];
    let mut parts = Vec::new();
    if !whole {
        let [y, x, h, w] = [0, 1, 2, 3].map(|i| row[TOP + i]);
        parts.push(format!("crop {h}x{w} at row {y}, column {x}"));
    }
    if row[FLIP] > 0.0 {
        parts.push("mirrored".into());
    }
    let code = row[ORDER] as usize;
    for digit in [1, 5, 25, 125].map(|place| code / place % 5) {
        match digit {
            0..=2 => parts.push(format!(
                "{} x{:.2}",
                ["brightness", "contrast", "saturation"][digit],
                row[FACTORS + digit]
            )),
            3 => parts.push(format!("hue {:+.3} turns", row[FACTORS + 3])),
            _ => {}
        }
    }
    if row[GRAY] > 0.0 {
        parts.push("gray".into());
    }
    if row[RADIUS] > 0.0 {
        parts.push(format!("blur sigma {:.2} px", row[SIGMA]));
    }
    if row[SOLARISE] <= 1.0 {
        parts.push(format!("solarised from {}", row[SOLARISE]));
    }
    if parts.is_empty() {
        return "unchanged".into();
    }
    parts.join(", ")
}

/// Runs an augmentation on the first `count` images: views of side `size`, as a run of this seed draws them in `epoch`.
///
/// # Errors
/// Device loss.
pub fn sheet(
    policy: &Policy,
    (size, seed, epoch): (usize, u64, u32),
    data: &Dataset,
    count: usize,
    exec: &mut dyn Executor,
) -> Result<Sheet> {
    let n = count.min(data.len());
    let side = (data.height, data.width);
    let ids: Vec<u32> = (0..n as u32).collect();
    let mut packed = packed::pack(data, &ids)?;
    let sides = packed.sides.clone();
    let mut table = Policy::whole(sides.as_slice(), n);
    table.extend(policy.two_views(sides.as_slice(), &ids, size, seed, epoch));
    let op = Augment {
        mean: [0.0; 3],
        std: [1.0; 3],
        ..policy.op(side, size)
    };
    let mut g = Graph::new();
    let images = g.input("images", TensorType::u32([n, words(side.0, side.1)]));
    let rows = g.input("views", TensorType::f32([3 * n, ROW]));
    let out = g.push1(op, &[images, rows])?;
    let program = exec.compile(&g, &[out])?;
    packed.upload(exec, program, images)?;
    exec.upload(program, rows, &HostData::F32(table.clone()))?;
    exec.run(program, &StepScalars::default())?;
    let pixels = exec.fetch(program, out)?.to_f32();

    let view = |k: usize| pixels[k * size * size * 3..(k + 1) * size * size * 3].to_vec();
    let cells: Vec<Vec<Vec<f32>>> = (0..n)
        .map(|i| [0, 1, 2].map(|column| view(column * n + i)).into())
        .collect();
    let sheet = grid(&cells, size);
    let row = |i: usize| &table[i * ROW..(i + 1) * ROW];
    let rows = (0..n)
        .map(|i| {
            [
                data.name(i),
                describe(row(n + i), sides[i]),
                describe(row(2 * n + i), sides[i]),
            ]
        })
        .collect();
    Ok(Sheet { image: sheet, rows })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::shapes;
    use crate::graph::host::HostExecutor;

    #[test]
    fn what_is_said_is_what_is_shown() {
        let split = shapes::generate(0, 40, 10);
        let mut policy = Policy {
            families: "e".into(),
            ..Policy::default()
        };
        let exec = &mut HostExecutor::<f32>::new();
        let s = sheet(&policy, (32, 0, 0), &split.train, 12, exec).unwrap();
        assert_eq!(s.rows.len(), 12);
        let cell = 96;
        let at = |column: u32, row: usize, x: u32| {
            let y = row as u32 * (cell + CELL_GAP) + CELL_GAP + cell / 2;
            *s.image
                .get_pixel(column * (cell + CELL_GAP) + CELL_GAP + x, y)
        };
        let (mut mirrored, mut same) = (0, 0);
        for (i, row) in s.rows.iter().enumerate() {
            for (column, words) in [(1, &row[1]), (2, &row[2])] {
                let flip = words == "mirrored";
                assert!(flip || words == "unchanged", "{words}");
                *if flip { &mut mirrored } else { &mut same } += 1;
                for x in 0..cell {
                    let from = if flip { cell - 1 - x } else { x };
                    assert_eq!(at(column, i, x), at(0, i, from), "row {i}: {words}");
                }
            }
        }
        assert!(mirrored > 3 && same > 3);
        policy.families = "abcde".into();
        let s = sheet(&policy, (32, 0, 0), &split.train, 40, exec).unwrap();
        let all: String = s.rows.concat().join("; ");
        for word in ["crop", "mirrored", "brightness", "hue", "gray", "blur"] {
            assert!(all.contains(word), "{word}: {all}");
        }
    }
}
