//! Images that a page carries with their features: what dropped images are compared with.

use crate::data::Dataset;
use crate::eval::pca;
use crate::graph::Result;
use image::RgbImage;
use image::imageops::{FilterType, resize};
use serde_json::{Value, json};

/// Side of the largest thumbnail.
const TILE: u32 = 64;
/// Thumbnails in a row of the sprite picture.
const COLUMNS: u32 = 32;

/// Images with their features.
#[derive(Clone, Copy, Debug)]
pub struct Gallery<'a> {
    /// The images, in memory.
    pub images: &'a Dataset,
    /// Their features [n,dim].
    pub features: &'a [f32],
}

/// A gallery as files.
pub(super) struct Packed {
    /// What page.json says of it.
    pub described: Value,
    /// Features, labels, places on the map.
    pub numbers: Vec<u8>,
    /// The thumbnails.
    pub sprites: Vec<u8>,
}

/// Features of length 1; one that is zero stays so.
fn normalised(features: &[f32], dim: usize) -> Vec<f32> {
    let mut out = features.to_vec();
    for row in out.chunks_mut(dim) {
        let norm = row
            .iter()
            .map(|v| f64::from(*v).powi(2))
            .sum::<f64>()
            .sqrt();
        let scale = if norm > 0.0 { 1.0 / norm } else { 0.0 };
        row.iter_mut()
            .for_each(|v| *v = (f64::from(*v) * scale) as f32);
    }
    out
}

impl Gallery<'_> {
    /// The files. Features are made 1 long; the map shows their first two principal components.
    ///
    /// # Errors
    /// An image that cannot be read.
    pub(super) fn pack(&self, dim: usize) -> Result<Packed> {
        let (data, n) = (self.images, self.images.len());
        let features = normalised(self.features, dim);
        let map = pca::Plane::of(&features, dim);
        let mut numbers: Vec<u8> = bytemuck::cast_slice(&features).to_vec();
        let labels = numbers.len();
        // Images without labels have none: the page shows no class for them.
        numbers.extend(data.labels.iter().flat_map(|l| l.to_le_bytes()));
        let places = numbers.len();
        for [x, y] in map.places(&features) {
            numbers.extend([x as f32, y as f32].into_iter().flat_map(f32::to_le_bytes));
        }
        let (width, height) = (data.width as u32, data.height as u32);
        let tile = TILE.min(width.max(height));
        let (columns, rows) = (COLUMNS.min(n as u32).max(1), (n as u32).div_ceil(COLUMNS));
        let mut sheet = RgbImage::new(columns * tile, rows.max(1) * tile);
        for i in 0..n {
            let Some(image) = RgbImage::from_raw(width, height, data.image(i)?.to_vec()) else {
                continue;
            };
            let small = match (width, height) == (tile, tile) {
                true => image,
                false => resize(&image, tile, tile, FilterType::Triangle),
            };
            let at = (i as u32 % COLUMNS * tile, i as u32 / COLUMNS * tile);
            image::imageops::replace(&mut sheet, &small, at.0.into(), at.1.into());
        }
        let span = |offset: usize, end: usize| json!({"offset": offset, "bytes": end - offset});
        Ok(Packed {
            described: json!({
                "count": n,
                "file": "gallery.bin",
                "features": span(0, labels),
                "labels": (!data.labels.is_empty()).then(|| span(labels, places)),
                "names": data.names,
                "sprites": "gallery.png",
                "tile": tile,
                "columns": COLUMNS,
                "map": {"mean": map.mean, "axes": map.axes, "xy": span(places, numbers.len())},
            }),
            sprites: crate::eval::sheet::png(&sheet)?,
            numbers,
        })
    }
}
