//! JPEGs by libjpeg-turbo (feature `turbojpeg`) beside the decoder that is always there.
//! `TURBOJPEG_SOURCE=vendor cargo test --features turbojpeg --test suite -- turbo`.
#![cfg(feature = "turbojpeg")]

use crate::common::images::open_as;
use crate::decoding::{NEW, apart, encoded, first_scan, folder, jpeg, kinds, photo, read, turned};
use amcl_wgpu::data::{Decoder, Reading};
use image::{ImageFormat, RgbImage, imageops};

const TURBO: Reading = Reading {
    decoder: Decoder::Turbo,
    ..NEW
};

/// Largest difference of two decoders of one file at its own size. Both round the inverse cosine transform to a level,
/// by integer ways that are off by another half: brightness and each of the two colours differ by 1. Blue takes 1.772
/// of one colour, red 1.402 of the other, green 0.344 and 0.714 of them, and each sum is rounded: 1 + 1.772 + 1, so 3
/// whole levels. Colours of half the resolution are weighed from four neighbours with one rounding more: 1 + 2 x 1.772 + 1,
/// so 5. Grey has brightness alone.
fn bound(grey: bool, quarter: bool) -> u8 {
    match (grey, quarter) {
        (true, _) => 1,
        (_, false) => 3,
        (_, true) => 5,
    }
}

#[test]
fn every_kind_of_jpeg_is_the_same_by_both_decoders() {
    for (w, h) in [(90, 70), (70, 90), (161, 64)] {
        let image = photo(w, h);
        // The square without its last row and column: where an image ends within a block of halved colours, zune-jpeg
        // weighs them with those that the file has beyond the edge, and libjpeg-turbo with themselves.
        let inner = |square: &[u8]| {
            let side = w.min(h) as usize;
            let rows = square.chunks_exact(3 * side).take(side - 1);
            rows.flat_map(|row| &row[..3 * (side - 1)])
                .copied()
                .collect::<Vec<u8>>()
        };
        let mut other = 0;
        for (number, kind) in kinds().into_iter().enumerate() {
            let file = jpeg(&image, kind);
            let short = w.min(h) as usize;
            let (want, said) = read("a.jpg", &file, short, NEW);
            let (got, too) = read("a.jpg", &file, short, TURBO);
            assert_eq!(said, too);
            let most = bound(kind.grey, kind.quarter);
            let (found, mean) = apart(&inner(&got), &inner(&want));
            assert!(
                found <= most && mean < 0.5,
                "{w}x{h}, kind {number}: {found} {mean}"
            );
            other += usize::from(found > 0);
            // The control: the square one column to the side, which a wrong part would be.
            let moved = [&want[3..], &want[..3]].concat();
            let (found, _) = apart(&got, &moved);
            assert!(found > 3 * most, "{w}x{h}, kind {number}: {found}");
        }
        // Were none of them read by the other decoder, no pixel would differ.
        assert!(other > kinds().len() / 4, "{other}");
    }
}

#[test]
fn brought_to_size_they_stay_alike() {
    for (w, h, size) in [
        (500, 375, 256),
        (375, 500, 224),
        (97, 331, 32),
        (131, 130, 96),
    ] {
        for kind in kinds() {
            let file = jpeg(&photo(w, h), kind);
            let want = read("a.jpg", &file, size, NEW).0;
            let got = read("a.jpg", &file, size, TURBO).0;
            let (most, mean) = apart(&got, &want);
            if w.min(h) < 2 * size as u32 {
                // Means of pixels differ by no more than these, and are rounded twice on both sides: one more.
                assert!(
                    most <= bound(kind.grey, kind.quarter) + 1,
                    "{w}x{h}: {most}"
                );
            }
            // Decoded at a half, the low half of each block's frequencies is taken instead of a triangle: noise of
            // some levels.
            assert!(mean < 4.0, "{w}x{h} to {size}: {mean}");
            let upside_down: Vec<u8> = want.iter().rev().copied().collect();
            assert!(apart(&got, &upside_down).1 > 8.0, "{w}x{h} to {size}");
        }
    }
}

#[test]
fn a_large_photo_is_decoded_at_a_fraction_of_its_size() {
    // Smooth, so that both ways of making it smaller have the same to show.
    let image = RgbImage::from_fn(801, 600, |x, y| {
        let wave = |a: f64, b: f64| 120.0 + 90.0 * (f64::from(x) / a + f64::from(y) / b).sin();
        image::Rgb([wave(40.0, 90.0), wave(70.0, 50.0), wave(99.0, 60.0)].map(|v| v as u8))
    });
    for kind in kinds().into_iter().filter(|k| !k.grey) {
        let file = jpeg(&image, kind);
        let want = read("a.jpg", &file, 70, NEW).0;
        let got = read("a.jpg", &file, 70, TURBO).0;
        // An eighth of 801 columns are 101, of which the square begins at column 13 and a half of the eighth: up to an
        // eighth's column, 8 of 600 pixels, one of the 70. A wave has a slope of 90 levels in 40 pixels at most.
        let (most, mean) = apart(&got, &want);
        assert!(most <= 20 && mean < 5.0 && most > 0, "{most} {mean}");
        let moved = [&want[6..], &want[..6]].concat();
        assert!(apart(&got, &moved).1 > 2.0 * mean);
    }
}

#[test]
fn what_is_no_whole_jpeg_is_said_as_the_other_decoder_says_it() {
    let image = photo(90, 140);
    for kind in kinds() {
        let whole = jpeg(&image, kind);
        let begin = first_scan(&whole);
        let cut = |percent: usize| whole[..begin + (whole.len() - begin) * percent / 100].to_vec();
        let mut files = vec![("whole.jpg".to_string(), whole.clone())];
        for percent in [0, 33, 75, 98] {
            files.push((format!("{percent}.jpg"), cut(percent)));
        }
        files.push(("header.jpg".into(), whole[..begin - 20].to_vec()));
        files.push(("text.jpg".into(), b"no image at all".to_vec()));
        // Named as a JPEG, and none: its bytes tell.
        files.push((
            "png.jpg".into(),
            encoded(&image.clone().into(), ImageFormat::Png),
        ));
        let mut odd = whole.clone();
        odd.truncate(whole.len() - 2);
        files.push(("odd.jpg".into(), odd));
        let listed: Vec<(&str, &[u8])> = files.iter().map(|(n, b)| (&**n, &**b)).collect();
        let dir = folder(&listed);
        let want = open_as(dir.path(), 64, NEW).unwrap();
        let got = open_as(dir.path(), 64, TURBO).unwrap();
        assert_eq!(got.warnings, want.warnings);
        assert_eq!(got.train.names, want.train.names);
        assert_eq!(got.train.names, ["odd.jpg", "png.jpg", "whole.jpg"]);
    }
}

#[test]
fn photos_are_turned_by_either_decoder() {
    // Odd margins at both sides; no two of its eight positions are alike.
    for (w, h) in [(75, 40), (40, 75)] {
        let mut image = photo(w, h);
        imageops::replace(
            &mut image,
            &RgbImage::from_pixel(20, 9, image::Rgb([250, 0, 0])),
            21,
            21,
        );
        for orientation in 1..=8 {
            let file = turned(&image, orientation);
            let (want, said) = read("a.jpg", &file, 40, NEW);
            let (got, too) = read("a.jpg", &file, 40, TURBO);
            assert_eq!(said, too);
            let (most, _) = apart(&got, &want);
            assert!(most <= bound(false, false), "{orientation}: {most}");
            if orientation > 1 {
                let upright = read("a.jpg", &turned(&image, 1), 40, TURBO).0;
                assert!(apart(&got, &upright).0 > 100, "{orientation}");
            }
        }
    }
}
