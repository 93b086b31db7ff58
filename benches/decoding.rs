//! How many images a second are read from files: JPEGs of 500x375 brought to 256x256, and of 32x32, by one thread and
//! by two; by `image` alone (its decoder, its triangle filter), and by the two versions of the pixels.
//! `cargo bench --bench decoding`. Ratios within one call are worth more than the figures on a shared machine: the best
//! of several rounds is shown, and the ways take turns in each.

use amcl_wgpu::data::{Decoder, Keeping, Reading, Request, open};
use image::{Rgb, RgbImage, imageops};
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use rayon::prelude::*;
use std::path::{Path, PathBuf};
use std::time::Instant;

const ROUNDS: usize = 5;

/// Waves and noise: 4:2:0 at quality 90 takes some 70 KB at 500x375.
fn photo(w: u32, h: u32, seed: u32) -> RgbImage {
    let mut state = seed;
    RgbImage::from_fn(w, h, |x, y| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let noise = f64::from(state >> 24) / 8.0;
        let wave = |a: f64, b: f64| 100.0 + 70.0 * (f64::from(x) / a + f64::from(y) / b).sin();
        Rgb([wave(9.0, 31.0), wave(23.0, 7.0), wave(50.0, 40.0)].map(|v| (v + noise) as u8))
    })
}

fn write(folder: &Path, count: u32, (w, h): (u16, u16)) -> std::io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for i in 0..count {
        let mut bytes = Vec::new();
        let mut e = Encoder::new(&mut bytes, 90);
        e.set_sampling_factor(SamplingFactor::F_2_2);
        let image = photo(w.into(), h.into(), i);
        e.encode(&image, w, h, ColorType::Rgb)
            .map_err(std::io::Error::other)?;
        let path = folder.join(format!("{i:04}.jpg"));
        std::fs::write(&path, bytes)?;
        paths.push(path);
    }
    Ok(paths)
}

/// What stood here before version 2 of the pixels, without this program's code around it.
fn by_image(paths: &[PathBuf], size: u32) -> usize {
    let read = |path: &PathBuf| {
        let image = image::open(path).ok()?.to_rgb8();
        let (w, h) = image.dimensions();
        let short = w.min(h);
        let (x, y) = ((w - short) / 2, (h - short) / 2);
        let square = imageops::crop_imm(&image, x, y, short, short).to_image();
        Some(match short == size {
            true => square,
            false => imageops::resize(&square, size, size, imageops::FilterType::Triangle),
        })
    };
    paths.par_iter().filter_map(read).count()
}

fn by_open(folder: &Path, size: usize, version: usize, decoder: Decoder) -> usize {
    let read = open(&Request {
        path: &folder.to_string_lossy(),
        seed: 0,
        shapes: (0, 0),
        stored_size: size,
        unlabeled: false,
        fold: None,
        reading: Reading {
            version,
            decoder,
            ..Reading::default()
        },
        list: None,
        keeping: Keeping::default(),
        progress: &|_, _| (),
    });
    read.map_or(0, |s| s.train.len())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // `cargo test --benches` calls it so: once is enough to see that it runs.
    let rounds = match std::env::args().any(|a| a == "--bench") {
        true => ROUNDS,
        false => 1,
    };
    let turbo = Decoder::Turbo.missing().is_none();
    for (side, count, size) in [
        ((500, 375), 60, 256),
        ((2000, 1500), 8, 256),
        ((32, 32), 4000, 32),
    ] {
        let dir = tempfile::tempdir()?;
        let paths = write(dir.path(), count, side)?;
        for threads in [1, 2] {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()?;
            let mut best = vec![0.0f64; if turbo { 4 } else { 3 }];
            for _ in 0..rounds {
                for (i, best) in best.iter_mut().enumerate() {
                    let begin = Instant::now();
                    let opened =
                        |version, decoder| by_open(dir.path(), size as usize, version, decoder);
                    let read = pool.install(|| match i {
                        0 => by_image(&paths, size),
                        3 => opened(2, Decoder::Turbo),
                        version => opened(version, Decoder::Zune),
                    });
                    assert_eq!(read, paths.len());
                    *best = best.max(read as f64 / begin.elapsed().as_secs_f64());
                }
            }
            let ways = ["image", "version 1", "version 2", "libjpeg-turbo"];
            let rates = ways
                .iter()
                .zip(&best)
                .map(|(way, rate)| format!("{way} {rate:.0}/s ({:.2} times)", rate / best[0]));
            println!(
                "{}x{} to {size}x{size}, {threads} threads: {}",
                side.0,
                side.1,
                rates.collect::<Vec<_>>().join(", ")
            );
        }
    }
    Ok(())
}
