//! What is drawn for each view. The drawing happens here, from per-sample Philox streams, so that a sample's views
//! depend on seed, epoch and sample alone: not on device, vendor, thread or place in the batch. The pixels are the op
//! `augment`'s work.

use crate::ops::augment::Augment;
use crate::reference::augment::{
    Adjust, FACTORS, FLIP, Filter, GRAY, ORDER, RADIUS, ROW, SIGMA, SOLARISE, TOP, WIDTH,
    order_code,
};
use crate::reference::philox::{Purpose, Stream};
use crate::settings::{Numbers, Range, Section, between};

/// Probabilities.
const SHARE: Range = between(0.0, 1.0);

crate::section! {
    /// The augmentations of both views, `[augment]`. Names are lightly's; families are the paper's letters.
    Policy {
        /// Which families are on: a crop, b blur, c grayscale, d colour jitter, e horizontal flip. The recipe's default
        /// is `acde`.
        families: String = "acde".into(),
        /// Least share of the area that a crop keeps (largest: 1).
        min_scale: f32 = 0.08 => SHARE.without_low(),
        /// How crops, and the whole images of the test transform, are brought to the views' side, antialiased:
        /// `bilinear` (torchvision's default), or `bicubic` (MAE's and timm's).
        interpolation: Filter = Filter::Bilinear,
        /// Probability of a horizontal flip.
        hf_prob: f32 = 0.5 => SHARE,
        /// Probability of colour jitter.
        cj_prob: f32 = 0.8 => SHARE,
        /// Brightness, contrast, saturation, hue strengths. The hue's is a share of the circle, at most 0.5.
        jitter: [f32; 4] = [0.4, 0.4, 0.4, 0.1] => between(0.0, 10.0),
        /// Probability of grayscale.
        random_gray_scale: f32 = 0.2 => SHARE,
        /// Probability of Gaussian blur, for each view.
        gaussian_blur: [f32; 2] = [0.5; 2] => SHARE,
        /// Width of the blur's kernel as a share of the view's side (made odd, at least 3).
        kernel_size: f32 = 0.1 => SHARE,
        /// Range of the blur's deviation in pixels.
        sigmas: [f32; 2] = [0.1, 2.0] => between(1e-3, 1e3),
        /// Probability of solarisation, for each view.
        solarization_prob: [f32; 2] = [0.0; 2] => SHARE,
        /// Values from here on (of 1) are inverted by solarisation.
        solarization_threshold: f32 = 0.5 => SHARE,
        /// Share of the shorter side that evaluation sees, a square from the centre (timm's name). 0.875 of a stored
        /// side of 256 are the 224 px of "resize 256, centre crop 224", pixel by pixel; 1: all of it.
        crop_pct: f32 = 1.0 => SHARE.without_low(),
        /// Channel means.
        mean: [f32; 3] = [0.485, 0.456, 0.406] => SHARE.advising(OF_ONE),
        /// Channel deviations.
        std: [f32; 3] = [0.229, 0.224, 0.225] => between(1e-3, 1.0).advising(OF_ONE),
    }
}

/// What to do about a mean or deviation that is too large.
const OF_ONE: &str = "pixels run from 0 to 1, so numbers on the scale of 255 are divided by 255";

/// Height and width of the images of a batch.
#[derive(Clone, Copy, Debug)]
pub enum Sides<'a> {
    /// All have these.
    Same((usize, usize)),
    /// Each has its own.
    Each(&'a [(usize, usize)]),
}

impl Sides<'_> {
    /// Those of image `i` of the batch.
    ///
    /// # Panics
    /// If each image has its own, and there are no more than `i`.
    fn of(self, i: usize) -> (usize, usize) {
        match self {
            Self::Same(side) => side,
            Self::Each(sides) => sides[i],
        }
    }
}

impl From<(usize, usize)> for Sides<'_> {
    fn from(side: (usize, usize)) -> Self {
        Self::Same(side)
    }
}

impl<'a> From<&'a [(usize, usize)]> for Sides<'a> {
    fn from(sides: &'a [(usize, usize)]) -> Self {
        Self::Each(sides)
    }
}

/// The row that shows a box (top, left, height, width) of an image whose rows are `width` long, unchanged but for size.
fn shown(shape: [usize; 4], width: usize) -> [f32; ROW] {
    let mut row = [0.0; ROW];
    for (r, v) in row[TOP..].iter_mut().zip(shape) {
        *r = v as f32;
    }
    row[WIDTH] = width as f32;
    row[ORDER] = order_code([Adjust::None; 4]);
    row[SOLARISE] = 2.0;
    row
}

impl Policy {
    /// What is wrong with the values, in words.
    ///
    /// # Errors
    /// An unknown family letter, a probability outside [0,1], a strength or deviation that cannot be.
    pub fn validate(&self) -> Result<(), String> {
        if let Some(c) = self.families.chars().find(|c| !"abcde".contains(*c)) {
            return Err(format!(
                "augment.families holds `{c}`; there are a (crop), b (blur), c (grayscale), d (colour jitter), e (flip)"
            ));
        }
        self.check_ranges("augment")?;
        if self.jitter[3] > 0.5 {
            return Err(format!(
                "augment.jitter: the hue's strength is {}; it must be from 0 to 0.5",
                self.jitter[3]
            ));
        }
        if self.sigmas[1] < self.sigmas[0] {
            return Err(format!(
                "augment.sigmas is {:?}; the least deviation comes first",
                self.sigmas
            ));
        }
        Ok(())
    }

    fn has(&self, family: char) -> bool {
        self.families.contains(family)
    }

    /// Can any view blur? (The kernel then takes two more passes.)
    pub fn blurs(&self) -> bool {
        self.has('b') && self.gaussian_blur.iter().any(|p| *p > 0.0)
    }

    /// The op that makes views of `size` pixels of images whose height and width are `side`.
    pub fn op(&self, side: (usize, usize), size: usize) -> Augment {
        Augment {
            height: side.0,
            width: side.1,
            size,
            filter: self.interpolation,
            blur: self.blurs(),
            mean: self.mean,
            std: self.std,
        }
    }

    /// RandomResizedCrop's box: top, left, height, width (ten tries, then the centre).
    fn crop(&self, h: usize, w: usize, stream: &mut Stream) -> [usize; 4] {
        let area = (h * w) as f32;
        for _ in 0..10 {
            let target = area * stream.range(self.min_scale, 1.0);
            let ratio = stream.range((0.75f32).ln(), (4.0f32 / 3.0).ln()).exp();
            let (cw, ch) = (
                (target * ratio).sqrt().round() as usize,
                (target / ratio).sqrt().round() as usize,
            );
            if (1..=w).contains(&cw) && (1..=h).contains(&ch) {
                return [stream.below(h - ch + 1), stream.below(w - cw + 1), ch, cw];
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
        [(h - ch) / 2, (w - cw) / 2, ch, cw]
    }

    /// The table row of one view (0 or 1) of an image of h x w, seen at `size`. Numbers are drawn in a fixed order,
    /// also for what is then not done, so that switching one family off leaves the others' draws as they were.
    fn draw(&self, (h, w): (usize, usize), size: usize, view: usize, s: &mut Stream) -> [f32; ROW] {
        let mut row = shown([0, 0, h, w], w);
        if self.has('a') {
            let mut crop = s.clone();
            for (r, v) in row[TOP..].iter_mut().zip(self.crop(h, w, &mut crop)) {
                *r = v as f32;
            }
        }
        // A crop takes at most 42 words (ten tries of two, then two): the rest of the stream begins after them,
        // whatever the tries.
        s.skip(44);
        let flip = s.uniform() < self.hf_prob;
        row[FLIP] = f32::from(u8::from(flip && self.has('e')));
        let jitter = s.uniform() < self.cj_prob;
        let mut order = [
            Adjust::Brightness,
            Adjust::Contrast,
            Adjust::Saturation,
            Adjust::Hue,
        ];
        for i in (1..4).rev() {
            order.swap(i, s.below(i + 1));
        }
        for (i, j) in self.jitter.iter().enumerate() {
            row[FACTORS + i] = match i {
                3 => s.range(-j, *j),
                _ => s.range((1.0 - j).max(0.0), 1.0 + j),
            };
        }
        if jitter && self.has('d') {
            row[ORDER] = order_code(order);
        }
        let gray = s.uniform() < self.random_gray_scale;
        row[GRAY] = f32::from(u8::from(gray && self.has('c')));
        let blur = s.uniform() < self.gaussian_blur[view];
        row[SIGMA] = s.range(self.sigmas[0], self.sigmas[1]);
        if blur && self.has('b') {
            row[RADIUS] = ((size as f32 * self.kernel_size / 2.0) as usize).max(1) as f32;
        }
        if s.uniform() < self.solarization_prob[view] {
            row[SOLARISE] = self.solarization_threshold;
        }
        row
    }

    /// The table of both views of the samples `ids`, seen at `size`: [2B, 16], rows 0..B the first view. `sides` are
    /// those of the images, one tuple for all or a slice with as many as `ids`.
    pub fn two_views<'a>(
        &self,
        sides: impl Into<Sides<'a>>,
        ids: &[u32],
        size: usize,
        seed: u64,
        epoch: u32,
    ) -> Vec<f32> {
        self.views(2, sides, ids, size, (seed, epoch))
    }

    /// The table of the first `count` (1 or 2) views of the samples `ids`: [count B, 16], view by view; else as
    /// [`Policy::two_views`].
    ///
    /// # Panics
    /// If there are fewer sides than samples.
    pub fn views<'a>(
        &self,
        count: usize,
        sides: impl Into<Sides<'a>>,
        ids: &[u32],
        size: usize,
        (seed, epoch): (u64, u32),
    ) -> Vec<f32> {
        let sides = sides.into();
        let mut out = Vec::with_capacity(count * ids.len() * ROW);
        let views = [Purpose::View0, Purpose::View1].into_iter().enumerate();
        for (view, purpose) in views.take(count) {
            for (i, id) in ids.iter().enumerate() {
                let mut stream = Stream::new(seed, epoch, *id, purpose);
                out.extend(self.draw(sides.of(i), size, view, &mut stream));
            }
        }
        out
    }

    /// What is not plain about the test transform, in words that follow a protocol's: that it sees a part of an image,
    /// and another filter than the bilinear one.
    pub fn test_in_words(&self) -> String {
        let mut words = match self.crop_pct {
            1.0 => String::new(),
            share => format!(", centre crop of {share} of the shorter side"),
        };
        if self.interpolation != Filter::Bilinear {
            words += &format!(", {} resizing", self.interpolation.name());
        }
        words
    }

    /// The table of `n` images as they are: whole, and resized. `sides` as [`Policy::plain`] takes them.
    pub fn whole<'a>(sides: impl Into<Sides<'a>>, n: usize) -> Vec<f32> {
        let sides = sides.into();
        let row = |i| {
            let (h, w) = sides.of(i);
            shown([0, 0, h, w], w)
        };
        (0..n).flat_map(row).collect()
    }

    /// The table of the test transform of `n` images: the square in the centre, `crop_pct` of the shorter side, resized
    /// and normalised. It lies where torchvision's `CenterCrop` has it, whose halves are rounded to even. `sides` are
    /// those of the images, one tuple for all or a slice with `n` of them.
    pub fn plain<'a>(&self, sides: impl Into<Sides<'a>>, n: usize) -> Vec<f32> {
        let (sides, share) = (sides.into(), self.crop_pct.numbers()[0]);
        let row = |i| {
            let (h, w) = sides.of(i);
            let side = ((h.min(w) as f64 * share).round() as usize).max(1);
            let margin = |all: usize| (0.5 * (all - side) as f64).round_ties_even() as usize;
            shown([margin(h), margin(w), side, side], w)
        };
        (0..n).flat_map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn views(p: &Policy, ids: &[u32], epoch: u32) -> Vec<f32> {
        p.two_views((32, 32), ids, 32, 9, epoch)
    }

    #[test]
    fn views_depend_on_sample_and_epoch_alone() {
        let p = Policy::default();
        let (a, b) = (views(&p, &[3, 5, 7], 2), views(&p, &[7, 3], 2));
        assert_eq!(a[..ROW], b[ROW..2 * ROW], "sample 3, view 0, elsewhere");
        assert_ne!(a[..ROW], a[3 * ROW..4 * ROW], "the views differ");
        assert_ne!(a, views(&p, &[3, 5, 7], 3), "the epochs differ");
    }

    #[test]
    fn a_family_switched_off_leaves_the_others_draws() {
        let ids: Vec<u32> = (0..64).collect();
        let all = views(
            &Policy {
                families: "abcde".into(),
                ..Policy::default()
            },
            &ids,
            0,
        );
        for (letter, entries) in [
            ('a', TOP..TOP + 4),
            ('b', RADIUS..RADIUS + 1),
            ('c', GRAY..GRAY + 1),
            ('d', ORDER..ORDER + 1),
            ('e', FLIP..FLIP + 1),
        ] {
            let families = "abcde".replace(letter, "");
            let p = Policy {
                families,
                ..Policy::default()
            };
            let without = views(&p, &ids, 0);
            let differs: Vec<usize> = (0..ROW)
                .filter(|e| (0..128).any(|r| all[r * ROW + e] != without[r * ROW + e]))
                .collect();
            assert!(
                !differs.is_empty() && differs.iter().all(|e| entries.contains(e)),
                "{letter}: {differs:?}"
            );
        }
    }

    #[test]
    fn images_of_their_own_sides_get_the_views_that_they_would_get_alone() {
        let (p, ids) = (Policy::default(), [3, 5]);
        let sides = [(40, 24), (24, 70)];
        let together = p.two_views(sides.as_slice(), &ids, 16, 9, 2);
        for (i, side) in sides.into_iter().enumerate() {
            let alone = p.two_views(side, &ids[i..=i], 16, 9, 2);
            for view in 0..2 {
                let at = (2 * view + i) * ROW;
                assert_eq!(together[at..at + ROW], alone[view * ROW..(view + 1) * ROW]);
                assert_eq!(together[at + WIDTH], side.1 as f32);
            }
        }
        let plain = p.plain(sides.as_slice(), 2);
        assert_eq!(plain[..ROW], p.plain(sides[0], 1));
        assert_eq!(plain[ROW..], p.plain(sides[1], 1));
        assert_eq!(plain[ROW..][TOP..TOP + 4], [0.0, 23.0, 24.0, 24.0]);
    }

    #[test]
    fn crops_keep_the_area_they_should() {
        let p = Policy::default();
        let mut area = 0.0;
        let n = 4000u32;
        for id in 0..n {
            let [_, _, h, w] = p.crop(32, 32, &mut Stream::new(1, 0, id, Purpose::View0));
            area += (h * w) as f64 / 1024.0;
        }
        // Areas are uniform in [.08, 1] before boxes that stick out are redrawn, which favours small ones: a mean a
        // little under .54.
        let mean = area / f64::from(n);
        assert!((0.45..0.54).contains(&mean), "{mean}");
    }

    /// torchvision's `RandomResizedCrop.get_params` in f64, of the draws that `crop` takes.
    fn get_params(p: &Policy, h: usize, w: usize, stream: &mut Stream) -> [usize; 4] {
        let (area, [low, high]) = ((h * w) as f64, [0.75f64, 4.0 / 3.0]);
        for _ in 0..10 {
            let target = area * f64::from(stream.range(p.min_scale, 1.0));
            let ratio = stream.range(low.ln() as f32, high.ln() as f32);
            let ratio = f64::from(ratio).exp();
            let cw = (target * ratio).sqrt().round_ties_even() as usize;
            let ch = (target / ratio).sqrt().round_ties_even() as usize;
            if 0 < cw && cw <= w && 0 < ch && ch <= h {
                return [stream.below(h - ch + 1), stream.below(w - cw + 1), ch, cw];
            }
        }
        let round = |v: f64| v.round_ties_even() as usize;
        let (ch, cw) = match w as f64 / h as f64 {
            r if r < low => (round(w as f64 / low), w),
            r if r > high => (h, round(h as f64 * high)),
            _ => (h, w),
        };
        [(h - ch) / 2, (w - cw) / 2, ch, cw]
    }

    #[test]
    fn crops_are_drawn_on_whole_images_as_torchvision_draws_them() {
        let p = Policy::default();
        let of = |id| Stream::new(1, 0, id, Purpose::View0);
        for (h, w) in [(256, 341), (341, 256), (256, 512), (512, 256)] {
            let (mut ends, mut others, mut apart) = ([0, 0], 0, 0);
            for id in 0..2000 {
                let crop = p.crop(h, w, &mut of(id));
                let theirs = get_params(&p, h, w, &mut of(id));
                let near = |(a, b): (&usize, &usize)| a.abs_diff(*b) <= 1;
                assert!(crop.iter().zip(&theirs).all(near), "{crop:?} {theirs:?}");
                apart += usize::from(crop != theirs);
                let [top, left, ch, cw] = crop;
                ends = [ends[0].max(top + ch), ends[1].max(left + cw)];
                // The control: the crop of an image that lies on its side.
                others += usize::from(crop != get_params(&p, w, h, &mut of(id)));
            }
            // Of 2000 crops some end where the image does, and none behind it.
            assert_eq!(ends, [h, w]);
            // f32 and f64 round a side differently where it is within 200 * 2^-22 of a half: one in 10^4.
            assert!(apart <= 3, "{h}x{w}: {apart}");
            assert!(others > 1900, "{h}x{w}: {others}");
        }
    }

    #[test]
    fn impossible_values_are_named() {
        let mut p = Policy {
            families: "acx".into(),
            ..Policy::default()
        };
        assert!(p.validate().unwrap_err().contains("`x`"));
        p.families = "a".into();
        p.hf_prob = 1.5;
        assert!(p.validate().unwrap_err().contains("1.5"));
        assert!(Policy::default().validate().is_ok());
    }
}
