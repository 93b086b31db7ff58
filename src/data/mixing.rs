//! What is drawn where labelled images are mixed with others or partly erased, as timm draws it. Each draw has a
//! Philox stream of its own; the pixels are the op `mix_images`' work.

use crate::reference::mix_images::ROW;
use crate::reference::philox::Stream;

/// mixup and CutMix: one of them for each batch, one share for all of its images, each of which is mixed with the image
/// at the same place from the batch's end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mixing {
    /// mixup's Beta(alpha, alpha); 0: none.
    pub mixup: f32,
    /// CutMix's Beta(alpha, alpha); 0: none. With both, each has one batch of two.
    pub cutmix: f32,
}

/// How a batch is mixed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mixed {
    /// The row of `mix_images`, of every image.
    pub row: [f32; ROW],
    /// Share of an image's own label.
    pub share: f32,
}

/// A number of Beta(alpha, alpha), by two of Gamma(alpha, 1) (Marsaglia, Tsang, 2000).
fn beta(alpha: f32, s: &mut Stream) -> f64 {
    let alpha = f64::from(alpha);
    // In logarithms: with a small alpha both may be less than the smallest number.
    let mut gamma = || {
        let (shape, less) = match alpha < 1.0 {
            true => (alpha + 1.0, (1.0 - f64::from(s.uniform())).ln() / alpha),
            false => (alpha, 0.0),
        };
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = f64::from(s.normal());
            let v = (1.0 + c * x).powi(3);
            let u = 1.0 - f64::from(s.uniform());
            if v > 0.0 && u.ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                return (d * v).ln() + less;
            }
        }
    };
    let (a, b) = (gamma(), gamma());
    1.0 / (1.0 + (b - a).exp())
}

impl Mixing {
    /// Is anything mixed?
    pub fn on(&self) -> bool {
        self.mixup > 0.0 || self.cutmix > 0.0
    }

    /// Draws how a batch of images of a side is mixed.
    pub fn draw(&self, side: usize, s: &mut Stream) -> Mixed {
        let cut = s.uniform() < 0.5;
        let cut = match (self.mixup > 0.0, self.cutmix > 0.0) {
            (true, true) => cut,
            (_, only) => only,
        };
        let share = beta(if cut { self.cutmix } else { self.mixup }, s);
        if !cut {
            let share = share as f32;
            return Mixed {
                row: [share, 0.0, 0.0, 0.0, 0.0],
                share,
            };
        }
        // The box's centre lies anywhere; what sticks out is cut off, and the share is that of what is left.
        let half = (side as f64 * (1.0 - share).sqrt()) as usize / 2;
        let mut along = || {
            let centre = s.below(side);
            let first = centre.saturating_sub(half);
            (first, (centre + half).min(side) - first)
        };
        let ((top, height), (left, width)) = (along(), along());
        Mixed {
            row: [1.0, top as f32, left as f32, height as f32, width as f32],
            share: 1.0 - (height * width) as f32 / (side * side) as f32,
        }
    }
}

/// A box for random erasing in an image of a side, with this probability: top, left, height, width. Its area is from
/// 2 % to a third of the image's, its sides' ratio from 0.3 to 1/0.3; ten tries, else none.
pub fn erased(probability: f32, side: usize, s: &mut Stream) -> Option<[usize; 4]> {
    if s.uniform() >= probability {
        return None;
    }
    let longest = (1.0f32 / 0.3).ln();
    (0..10).find_map(|_| {
        let area = s.range(0.02, 1.0 / 3.0) * (side * side) as f32;
        let ratio = s.range(-longest, longest).exp();
        let (h, w) = (
            (area * ratio).sqrt().round() as usize,
            (area / ratio).sqrt().round() as usize,
        );
        let fits = (1..side).contains(&h) && (1..side).contains(&w);
        fits.then(|| [s.below(side - h + 1), s.below(side - w + 1), h, w])
    })
}

/// Labels as distributions [n, classes]: `share` of an image's own label and the rest of that of the image at the same
/// place from the end, each with a share `smoothing` spread over all classes.
pub fn soft_labels(labels: &[u32], classes: usize, smoothing: f32, share: f32) -> Vec<f32> {
    let n = labels.len();
    let mut out = vec![smoothing / classes as f32; n * classes];
    for (i, row) in out.chunks_mut(classes).enumerate() {
        row[labels[i] as usize] += (1.0 - smoothing) * share;
        row[labels[n - 1 - i] as usize] += (1.0 - smoothing) * (1.0 - share);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::philox::Purpose;

    fn stream(number: u32) -> Stream {
        Stream::new(5, 0, number, Purpose::Mix)
    }

    /// Mean and variance of Beta(a, a): 1/2, 1 / (4 (2a + 1)).
    #[test]
    fn shares_are_of_the_beta_distribution() {
        let n = 20_000;
        for alpha in [0.2f32, 0.8, 1.0, 4.0] {
            let all: Vec<f64> = (0..n).map(|i| beta(alpha, &mut stream(i))).collect();
            let mean = all.iter().sum::<f64>() / f64::from(n);
            let variance = all.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / f64::from(n);
            let want = 0.25 / (2.0 * f64::from(alpha) + 1.0);
            // Four deviations of the mean, and 4 % of the variance.
            assert!(
                (mean - 0.5).abs() < 4.0 * (want / f64::from(n)).sqrt(),
                "{alpha}: {mean}"
            );
            assert!(
                (variance / want - 1.0).abs() < 0.04,
                "{alpha}: {variance} {want}"
            );
            assert!(all.iter().all(|v| (0.0..=1.0).contains(v)));
        }
        // A share may be so near 0 or 1 that nothing is mixed, but it is a number.
        assert!((0..100).all(|i| beta(1e-3, &mut stream(i)).is_finite()));
    }

    #[test]
    fn boxes_lie_in_the_image_and_give_the_share() {
        let (mut cuts, mut mixes) = (0, 0);
        for i in 0..2000 {
            let both = Mixing {
                mixup: 0.8,
                cutmix: 1.0,
            };
            let Mixed { row, share } = both.draw(13, &mut stream(i));
            let [keep, top, left, height, width] = row;
            assert!(top + height <= 13.0 && left + width <= 13.0);
            if keep < 1.0 {
                mixes += 1;
                assert_eq!((keep, height * width), (share, 0.0));
            } else {
                cuts += 1;
                assert!((1.0 - height * width / 169.0 - share).abs() < 1e-6);
            }
        }
        // Half of each, within four deviations (22).
        assert!((900..1100).contains(&cuts), "{cuts} {mixes}");
        let only = |mixup, cutmix| Mixing { mixup, cutmix }.draw(13, &mut stream(1)).row[0];
        assert!(only(0.8, 0.0) < 1.0 && only(0.0, 1.0) == 1.0);
        let boxes: Vec<_> = (0..2000)
            .filter_map(|i| erased(0.25, 32, &mut stream(i)))
            .collect();
        assert!((400..600).contains(&boxes.len()), "{}", boxes.len());
        for [top, left, h, w] in boxes {
            assert!(top + h <= 32 && left + w <= 32);
            // Rounding moves a side by half a pixel.
            assert!((14..=400).contains(&(h * w)), "{h}x{w}");
        }
    }

    #[test]
    fn labels_are_shared_and_smoothed() {
        let y = soft_labels(&[0, 2, 1], 4, 0.2, 0.75);
        let want = [
            [0.65, 0.25, 0.05, 0.05],
            [0.05, 0.05, 0.85, 0.05],
            [0.25, 0.65, 0.05, 0.05],
        ];
        let want = want.as_flattened();
        assert!(
            y.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-6),
            "{y:?}"
        );
        // Without mixing and smoothing they are one-hot, exactly.
        assert_eq!(soft_labels(&[1, 0], 2, 0.0, 1.0), [0.0, 1.0, 1.0, 0.0]);
    }
}
