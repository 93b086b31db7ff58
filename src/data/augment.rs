//! Augmentation of views on the host, in torchvision's semantics (functional, on float images, no rounding between steps), each sample from its own
//! Philox stream: (seed, epoch, sample, view). Order: crop, flip, jitter (in random order), grayscale, normalise.

use super::Dataset;
use crate::reference::philox::{Purpose, Stream};
use glam::Vec3;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// What is drawn for a view. Names are lightly's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Least share of the area that a crop keeps (largest: 1).
    pub min_scale: f32,
    /// Probability of a horizontal flip.
    pub hf_prob: f32,
    /// Probability of colour jitter.
    pub cj_prob: f32,
    /// Brightness, contrast, saturation, hue strengths.
    pub jitter: [f32; 4],
    /// Probability of grayscale.
    pub random_gray_scale: f32,
    /// Channel means.
    pub mean: [f32; 3],
    /// Channel deviations.
    pub std: [f32; 3],
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            min_scale: 0.08,
            hf_prob: 0.5,
            cj_prob: 0.8,
            jitter: [0.4, 0.4, 0.4, 0.1],
            random_gray_scale: 0.2,
            mean: [0.485, 0.456, 0.406],
            std: [0.229, 0.224, 0.225],
        }
    }
}

const LUMA: Vec3 = Vec3::new(0.2989, 0.587, 0.114);

/// A working image: RGB in [0, 1], row by row.
#[derive(Clone, Debug)]
pub struct Image {
    /// Pixels.
    pub px: Vec<Vec3>,
    /// Width.
    pub width: usize,
}

impl Image {
    /// From bytes (rows, columns, RGB).
    pub fn from_bytes(bytes: &[u8], width: usize) -> Self {
        let px = bytes
            .chunks_exact(3)
            .map(|p| Vec3::new(f32::from(p[0]), f32::from(p[1]), f32::from(p[2])) / 255.0)
            .collect();
        Self { px, width }
    }

    /// Crops and resizes to `size` x `size`: bilinear with antialiasing (`torchvision.transforms.functional.resized_crop`).
    #[must_use]
    pub fn resized_crop(
        &self,
        top: usize,
        left: usize,
        height: usize,
        width: usize,
        size: usize,
    ) -> Self {
        let (rows, cols) = (weights(height, size), weights(width, size));
        let mut wide = vec![Vec3::ZERO; height * size];
        for y in 0..height {
            for (x, (first, ws)) in cols.iter().enumerate() {
                let at = (top + y) * self.width + left + first;
                wide[y * size + x] = ws.iter().zip(&self.px[at..]).map(|(w, p)| *w * *p).sum();
            }
        }
        let mut px = vec![Vec3::ZERO; size * size];
        for (y, (first, ws)) in rows.iter().enumerate() {
            for x in 0..size {
                px[y * size + x] = ws
                    .iter()
                    .enumerate()
                    .map(|(i, w)| *w * wide[(first + i) * size + x])
                    .sum();
            }
        }
        Self { px, width: size }
    }

    /// Mirrors left and right.
    pub fn hflip(&mut self) {
        self.px.chunks_mut(self.width).for_each(<[Vec3]>::reverse);
    }

    fn blend(&mut self, factor: f32, other: impl Fn(Vec3) -> Vec3) {
        self.px.iter_mut().for_each(|p| {
            *p = (*p * factor + other(*p) * (1.0 - factor)).clamp(Vec3::ZERO, Vec3::ONE)
        });
    }

    /// `adjust_brightness`.
    pub fn brightness(&mut self, factor: f32) {
        self.blend(factor, |_| Vec3::ZERO);
    }

    /// `adjust_contrast`: towards the mean of the grayscale image.
    pub fn contrast(&mut self, factor: f32) {
        let mean = self.px.iter().map(|p| p.dot(LUMA)).sum::<f32>() / self.px.len() as f32;
        self.blend(factor, |_| Vec3::splat(mean));
    }

    /// `adjust_saturation`: towards each pixel's gray.
    pub fn saturation(&mut self, factor: f32) {
        self.blend(factor, |p| Vec3::splat(p.dot(LUMA)));
    }

    /// `adjust_hue`: `shift` turns of the hue, by way of HSV.
    pub fn hue(&mut self, shift: f32) {
        self.px.iter_mut().for_each(|p| *p = turn_hue(*p, shift));
    }

    /// `rgb_to_grayscale` with three channels.
    pub fn grayscale(&mut self) {
        self.px
            .iter_mut()
            .for_each(|p| *p = Vec3::splat(p.dot(LUMA)));
    }
}

/// For each output pixel: first input pixel and weights. A triangle whose support grows with the scale when shrinking.
fn weights(from: usize, to: usize) -> Vec<(usize, Vec<f32>)> {
    let scale = from as f32 / to as f32;
    let support = scale.max(1.0);
    (0..to)
        .map(|i| {
            let centre = (i as f32 + 0.5) * scale;
            let first = ((centre - support + 0.5) as usize).min(from - 1);
            let last = ((centre + support + 0.5) as usize).clamp(first + 1, from);
            let mut w: Vec<f32> = (first..last)
                .map(|j| (1.0 - ((j as f32 - centre + 0.5) / support).abs()).max(0.0))
                .collect();
            let total: f32 = w.iter().sum();
            w.iter_mut().for_each(|v| *v /= total);
            (first, w)
        })
        .collect()
}

/// torchvision's RGB -> HSV -> RGB.
fn turn_hue(p: Vec3, shift: f32) -> Vec3 {
    let (max, min) = (p.max_element(), p.min_element());
    let range = max - min;
    if range == 0.0 {
        return p;
    }
    let q = (Vec3::splat(max) - p) / range;
    let h = if max == p.x {
        q.z - q.y
    } else if max == p.y {
        2.0 + q.x - q.z
    } else {
        4.0 + q.y - q.x
    };
    let h = (h / 6.0 + 1.0 + shift).rem_euclid(1.0) * 6.0;
    let (s, v) = (range / max, max);
    let f = h - h.floor();
    let (a, b, c) = (v * (1.0 - s), v * (1.0 - s * f), v * (1.0 - s * (1.0 - f)));
    let rgb = match h.floor() as i32 % 6 {
        0 => Vec3::new(v, c, a),
        1 => Vec3::new(b, v, a),
        2 => Vec3::new(a, v, c),
        3 => Vec3::new(a, b, v),
        4 => Vec3::new(c, a, v),
        _ => Vec3::new(v, a, b),
    };
    rgb.clamp(Vec3::ZERO, Vec3::ONE)
}

impl Policy {
    /// RandomResizedCrop's box: top, left, height, width (ten tries, then the centre).
    fn crop(&self, h: usize, w: usize, stream: &mut Stream) -> (usize, usize, usize, usize) {
        let area = (h * w) as f32;
        for _ in 0..10 {
            let target = area * stream.range(self.min_scale, 1.0);
            let ratio = stream.range((0.75f32).ln(), (4.0f32 / 3.0).ln()).exp();
            let (cw, ch) = (
                (target * ratio).sqrt().round() as usize,
                (target / ratio).sqrt().round() as usize,
            );
            if (1..=w).contains(&cw) && (1..=h).contains(&ch) {
                return (stream.below(h - ch + 1), stream.below(w - cw + 1), ch, cw);
            }
        }
        let ratio = w as f32 / h as f32;
        let (ch, cw) = if ratio < 0.75 {
            (((w as f32 / 0.75).round() as usize).min(h), w)
        } else if ratio > 4.0 / 3.0 {
            (h, ((h as f32 * 4.0 / 3.0).round() as usize).min(w))
        } else {
            (h, w)
        };
        ((h - ch) / 2, (w - cw) / 2, ch, cw)
    }

    /// One view of an image, normalised, NHWC, into `out` [size*size*3].
    fn view(
        &self,
        bytes: &[u8],
        h: usize,
        w: usize,
        size: usize,
        stream: &mut Stream,
        out: &mut [f32],
    ) {
        let (top, left, ch, cw) = self.crop(h, w, stream);
        let mut image = Image::from_bytes(bytes, w).resized_crop(top, left, ch, cw, size);
        if stream.uniform() < self.hf_prob {
            image.hflip();
        }
        if stream.uniform() < self.cj_prob {
            let mut order = [0, 1, 2, 3];
            for i in (1..4).rev() {
                order.swap(i, stream.below(i + 1));
            }
            let [b, c, s, hue] = self.jitter;
            let factors = [
                stream.range((1.0 - b).max(0.0), 1.0 + b),
                stream.range((1.0 - c).max(0.0), 1.0 + c),
                stream.range((1.0 - s).max(0.0), 1.0 + s),
                stream.range(-hue, hue),
            ];
            for o in order {
                match o {
                    0 => image.brightness(factors[0]),
                    1 => image.contrast(factors[1]),
                    2 => image.saturation(factors[2]),
                    _ => image.hue(factors[3]),
                }
            }
        }
        if stream.uniform() < self.random_gray_scale {
            image.grayscale();
        }
        self.normalise(&image, out);
    }

    fn normalise(&self, image: &Image, out: &mut [f32]) {
        let (mean, inv) = (Vec3::from(self.mean), Vec3::ONE / Vec3::from(self.std));
        for (o, p) in out.chunks_exact_mut(3).zip(&image.px) {
            o.copy_from_slice(&((*p - mean) * inv).to_array());
        }
    }

    /// Both views of the samples `ids`: [2B,size,size,3], rows 0..B the first view.
    pub fn two_views(
        &self,
        data: &Dataset,
        ids: &[u32],
        size: usize,
        seed: u64,
        epoch: u32,
    ) -> Vec<f32> {
        let image = size * size * 3;
        let mut out = vec![0.0; 2 * ids.len() * image];
        out.par_chunks_mut(image)
            .enumerate()
            .for_each(|(row, out)| {
                let id = ids[row % ids.len()];
                let purpose = if row < ids.len() {
                    Purpose::View0
                } else {
                    Purpose::View1
                };
                let mut stream = Stream::new(seed, epoch, id, purpose);
                self.view(
                    data.image(id as usize),
                    data.height,
                    data.width,
                    size,
                    &mut stream,
                    out,
                );
            });
        out
    }

    /// The test transform of samples `ids`: resized whole, normalised, [B,size,size,3].
    pub fn plain(&self, data: &Dataset, ids: std::ops::Range<usize>, size: usize) -> Vec<f32> {
        let image = size * size * 3;
        let mut out = vec![0.0; ids.len() * image];
        out.par_chunks_mut(image).zip(ids).for_each(|(out, id)| {
            let whole = Image::from_bytes(data.image(id), data.width);
            let img = if (data.height, data.width) == (size, size) {
                whole
            } else {
                whole.resized_crop(0, 0, data.height, data.width, size)
            };
            self.normalise(&img, out);
        });
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_depend_on_sample_and_epoch_alone() {
        let data = crate::data::shapes::generate(1, 20, 10).train;
        let p = Policy::default();
        let a = p.two_views(&data, &[3, 5, 7], 32, 9, 2);
        let b = p.two_views(&data, &[7, 3], 32, 9, 2);
        let n = 32 * 32 * 3;
        assert_eq!(
            a[..n],
            b[n..2 * n],
            "sample 3, view 0, at another place of another batch"
        );
        assert_ne!(a[..n], a[3 * n..4 * n], "the views differ");
        assert_ne!(
            a,
            p.two_views(&data, &[3, 5, 7], 32, 9, 3),
            "the epochs differ"
        );
    }

    #[test]
    fn crops_keep_the_area_they_should() {
        let p = Policy::default();
        let mut area = 0.0;
        let n = 4000u32;
        for id in 0..n {
            let (_, _, h, w) = p.crop(32, 32, &mut Stream::new(1, 0, id, Purpose::View0));
            area += (h * w) as f64 / 1024.0;
        }
        // Areas are uniform in [.08, 1] before boxes that stick out are redrawn, which favours small ones: a mean a little under .54.
        let mean = area / f64::from(n);
        assert!((0.45..0.54).contains(&mean), "{mean}");
    }
}
