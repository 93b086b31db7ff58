//! Trains an encoder on a folder of images and follows the run by its events.
//!
//!     cargo run --release --example train_on_a_folder [FOLDER [RUN]]
//!
//! FOLDER holds images in a folder a class; without it, a small one is made of generated shapes. RUN is the run's
//! folder (checkpoints, metrics, summary), a temporary one by default. The settings are tiny, so that this ends within
//! seconds; `Config::preset` has those of papers.

use amcl_wgpu::data::shapes;
use amcl_wgpu::prelude::*;
use std::path::PathBuf;

const SMALL: &str = "version = 4\nmodel.width = 4\noptim.batch_size = 32\nrun.epochs = 2";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let here = tempfile::tempdir()?;
    let images = match std::env::args().nth(1) {
        Some(folder) => PathBuf::from(folder),
        None => generate(here.path().join("images"))?,
    };
    let run = std::env::args().nth(2).map(PathBuf::from);
    let config = Config::parse(SMALL, &[format!("data.path={images:?}")])?;
    let outcome = Trainer::new(config)
        .device(Choice::Cpu)
        .out(run.unwrap_or(here.path().join("run")))
        .on_event(|event| match event {
            Event::Epoch(e) => println!("epoch {}: loss {:.3}", e.at.epoch, e.loss),
            Event::Evaluated(e) => println!("kNN accuracy {:.1} %", e.knn_top1),
            _ => (),
        })
        .run()?;
    println!("weights {}", outcome.weights);
    Ok(())
}

/// Ten classes of 12 PNG files, a folder a class.
fn generate(folder: PathBuf) -> Result<PathBuf, Box<dyn std::error::Error>> {
    let made = shapes::generate(0, 120, 0);
    for (i, label) in made.train.labels.iter().enumerate() {
        let class = folder.join(&made.classes[*label as usize]);
        std::fs::create_dir_all(&class)?;
        let (file, rgb) = (class.join(format!("{i}.png")), image::ColorType::Rgb8);
        image::save_buffer(file, &made.train.image(i)?, 32, 32, rgb)?;
    }
    Ok(folder)
}
