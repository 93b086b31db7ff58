//! What is drawn for RandAugment (Cubuk et al., 2020), as timm's `rand-mM-mstd0.5-inc1` draws it: two operations of
//! fifteen, each applied with probability a half, at a magnitude that varies about M. The pixels are the op
//! `rand_augment`'s work.

use crate::reference::philox::Stream;
use crate::reference::rand_augment::{ENTRY, Kind};

/// Operations of an image.
pub const LAYERS: usize = 2;

/// Largest magnitude.
pub const MOST: f32 = 10.0;

/// Deviation of the magnitude.
pub const DEVIATION: f32 = 0.5;

/// Operations to choose from.
const CHOICES: usize = 15;

/// An operation of the table without numbers of its own, or with these first ones.
fn entry(kind: Kind, numbers: &[f32]) -> [f32; ENTRY] {
    let mut out = [0.0; ENTRY];
    out[0] = kind as u32 as f32;
    out[1..=numbers.len()].copy_from_slice(numbers);
    out
}

/// The operation of number `choice` at a share `m` of the largest magnitude, to the side of `sign`, of images of a
/// side. Those of timm's increasing set: the larger m, the more is changed.
pub fn operation(choice: usize, m: f32, sign: f32, side: usize) -> [f32; ENTRY] {
    let factor = (1.0 + sign * 0.9 * m).max(0.1);
    let affine = |x: [f32; 3], y: [f32; 3]| entry(Kind::Affine, [x, y].as_flattened());
    let (along, across) = ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0]);
    match choice {
        0 => entry(Kind::AutoContrast, &[]),
        1 => entry(Kind::Equalize, &[]),
        2 => entry(Kind::Invert, &[]),
        3 => {
            // About the image's centre.
            let (sin, cos) = (sign * m * 30.0).to_radians().sin_cos();
            let centre = side as f32 / 2.0;
            affine(
                [cos, -sin, centre * (1.0 - cos + sin)],
                [sin, cos, centre * (1.0 - cos - sin)],
            )
        }
        // From four bits of a level down to none.
        4 => entry(Kind::Posterize, &[2f32.powi(4 + (4.0 * m) as i32)]),
        5 => entry(Kind::Solarize, &[256.0 - (256.0 * m).floor().min(256.0)]),
        6 => entry(Kind::SolarizeAdd, &[(110.0 * m).floor().min(128.0)]),
        7 => entry(Kind::Color, &[factor]),
        8 => entry(Kind::Contrast, &[factor]),
        9 => entry(Kind::Brightness, &[factor]),
        10 => entry(Kind::Sharpness, &[factor]),
        11 => affine([1.0, sign * 0.3 * m, 0.0], across),
        12 => affine(along, [sign * 0.3 * m, 1.0, 0.0]),
        13 => affine([1.0, 0.0, sign * 0.45 * m * side as f32], across),
        _ => affine(along, [0.0, 1.0, sign * 0.45 * m * side as f32]),
    }
}

/// The operations of an image of a side, at magnitudes about `magnitude`. Numbers are drawn in a fixed order, also for
/// what is then not done.
pub fn draw(magnitude: f32, side: usize, s: &mut Stream) -> [f32; LAYERS * ENTRY] {
    let mut out = [0.0; LAYERS * ENTRY];
    for row in out.chunks_mut(ENTRY) {
        let choice = s.below(CHOICES);
        let skipped = s.uniform() < 0.5;
        let m = (magnitude + DEVIATION * s.normal()).clamp(0.0, MOST) / MOST;
        let sign = if s.uniform() < 0.5 { -1.0 } else { 1.0 };
        row.copy_from_slice(&match skipped {
            true => entry(Kind::None, &[]),
            false => operation(choice, m, sign, side),
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::philox::Purpose;

    #[test]
    fn half_of_the_operations_are_applied_and_each_as_often() {
        let mut kinds = [0; 12];
        let n = 6000;
        for i in 0..n {
            let row = draw(9.0, 32, &mut Stream::new(1, 0, i, Purpose::RandAugment));
            for entry in row.chunks(ENTRY) {
                kinds[entry[0] as usize] += 1;
            }
        }
        // Of 12,000: within four deviations of 6000 (55) and of 400 (20); five of the fifteen are moves.
        assert!((5780..6220).contains(&kinds[0]), "{kinds:?}");
        for (kind, count) in kinds.iter().enumerate().skip(1) {
            let want = if kind == Kind::Affine as usize {
                2000
            } else {
                400
            };
            assert!(
                (want - 170..want + 170).contains(count),
                "{kind}: {kinds:?}"
            );
        }
    }

    /// What timm computes at magnitude 9: one bit is kept, levels from 26 on are inverted, 99 is added, factors are
    /// 0.19 and 1.81, and a turn is by 27 degrees about the centre.
    #[test]
    fn magnitudes_are_timms() {
        let of = |choice, sign| operation(choice, 0.9, sign, 32);
        assert_eq!(of(4, 1.0)[1], 128.0);
        assert_eq!(operation(4, 1.0, 1.0, 32)[1], 256.0, "no bit is kept");
        assert_eq!(of(5, 1.0)[1], 26.0);
        assert_eq!(of(6, 1.0)[1], 99.0);
        for choice in 7..=10 {
            assert!((of(choice, 1.0)[1] - 1.81).abs() < 1e-6);
            assert!((of(choice, -1.0)[1] - 0.19).abs() < 1e-6);
        }
        assert!((of(11, -1.0)[2] + 0.27).abs() < 1e-6);
        assert!((of(12, 1.0)[4] - 0.27).abs() < 1e-6);
        assert!((of(13, 1.0)[3] - 12.96).abs() < 1e-4);
        assert!((of(14, -1.0)[6] + 12.96).abs() < 1e-4);
        let turn = of(3, 1.0);
        assert!((turn[1] - 27f32.to_radians().cos()).abs() < 1e-6);
        // The centre stays where it is.
        let (x, y) = (
            turn[1] * 16.0 + turn[2] * 16.0 + turn[3],
            turn[4] * 16.0 + turn[5] * 16.0 + turn[6],
        );
        assert!((x - 16.0).abs() < 1e-4 && (y - 16.0).abs() < 1e-4);
    }
}
