//! `shapes`: a procedural data set of 32x32 RGB images in ten classes. Colour, position, size, rotation, background
//! gradient and noise are random and independent of the class, so that mean colour tells nothing.

use super::{Dataset, Split};
use crate::reference::philox::{Purpose, Stream};
use glam::{Vec2, Vec3};
use rayon::prelude::*;

/// Side of the images.
pub const SIZE: usize = 32;

/// Class names.
pub const CLASSES: [&str; 10] = [
    "disc",
    "ring",
    "square",
    "triangle",
    "cross",
    "bars",
    "two discs",
    "half disc",
    "checker",
    "star",
];

/// How far inside (positive) a point lies, for the figure of `class`; the figure has about unit radius.
fn inside(class: usize, p: Vec2) -> bool {
    let r = p.length();
    let a = p.abs();
    match class {
        0 => r < 0.9,
        1 => (0.55..0.95).contains(&r),
        2 => a.x.max(a.y) < 0.75,
        3 => p.y > -0.6 && p.y < 0.9 - 1.9 * a.x,
        4 => a.x.min(a.y) < 0.25 && a.x.max(a.y) < 0.95,
        5 => a.x.max(a.y) < 0.9 && (p.x * 2.2).rem_euclid(1.0) < 0.5,
        6 => (p - Vec2::new(0.5, 0.0)).length() < 0.42 || (p + Vec2::new(0.5, 0.0)).length() < 0.42,
        7 => r < 0.95 && p.y > 0.0,
        8 => {
            a.x.max(a.y) < 0.9 && ((p.x * 1.2).floor() + (p.y * 1.2).floor()).rem_euclid(2.0) < 0.5
        }
        _ => r < 0.45 + 0.5 * (5.0 * p.y.atan2(p.x)).cos().max(0.0),
    }
}

fn draw(class: usize, stream: &mut Stream) -> Vec<u8> {
    // Few colours for all classes alike: an encoder cannot tell images apart by colour and must look at the figure.
    const INKS: [Vec3; 3] = [
        Vec3::new(0.9, 0.3, 0.25),
        Vec3::new(0.25, 0.7, 0.35),
        Vec3::new(0.3, 0.45, 0.95),
    ];
    let front = INKS[stream.below(INKS.len())];
    let level = 0.1 + 0.06 * stream.uniform();
    let (back0, back1) = (Vec3::splat(level), Vec3::splat(level + 0.1));
    let radius = stream.range(7.0, 12.0);
    let reach = 16.0 - radius * 0.7;
    let centre = Vec2::new(
        16.0 + stream.range(-reach, reach) * 0.6,
        16.0 + stream.range(-reach, reach) * 0.6,
    );
    let turn = Vec2::from_angle(stream.range(-0.6, 0.6));
    let slope = Vec2::from_angle(stream.range(0.0, std::f32::consts::TAU));
    let noise = stream.range(0.0, 0.03);
    let mut out = Vec::with_capacity(SIZE * SIZE * 3);
    for i in 0..SIZE * SIZE {
        let pixel = Vec2::new((i % SIZE) as f32, (i / SIZE) as f32);
        // Four samples a pixel smooth the edges.
        let mut cover = 0.0;
        for s in [(0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)] {
            let p = turn.rotate((pixel + Vec2::from(s) - centre) / radius);
            cover += if inside(class, Vec2::new(p.x, -p.y)) {
                0.25
            } else {
                0.0
            };
        }
        let t = (0.5 + (pixel / SIZE as f32 - Vec2::splat(0.5)).dot(slope)).clamp(0.0, 1.0);
        let v = back0.lerp(back1, t).lerp(front, cover);
        for c in v.to_array() {
            let c = c + noise * (stream.uniform() * 2.0 - 1.0);
            out.push((c.clamp(0.0, 1.0) * 255.0).round() as u8);
        }
    }
    out
}

fn part(seed: u64, n: usize, first: u32) -> Dataset {
    let labels: Vec<u32> = (0..n).map(|i| (i % CLASSES.len()) as u32).collect();
    let images = labels
        .par_iter()
        .enumerate()
        .flat_map_iter(|(i, class)| {
            draw(
                *class as usize,
                &mut Stream::new(seed, 0, first + i as u32, Purpose::Shapes),
            )
        })
        .collect();
    Dataset {
        images,
        labels,
        ..Dataset::empty(SIZE, SIZE)
    }
}

/// Makes `train` and `test` images; test images never occur in training.
pub fn generate(seed: u64, train: usize, test: usize) -> Split {
    Split {
        description: format!(
            "shapes: {train} training and {test} test images of 32x32, generated (seed {seed})"
        ),
        labelled: None,
        warnings: Vec::new(),
        train: part(seed, train, 0),
        test: part(seed, test, 1 << 31),
        classes: CLASSES.iter().map(ToString::to_string).collect(),
    }
}
