//! Features of images by a trained encoder, and the images whose features are nearest.
//!
//!     cargo run --release --example embed_and_search
//!
//! A small encoder is trained for some seconds first; `Encoder::open` takes the folder of any run, those of
//! `amcl-wgpu train` too. Nearness is the cosine.

use amcl_wgpu::eval::knn::cosines;
use amcl_wgpu::prelude::*;

const SMALL: &str =
    "version = 4\ndata.shapes_train = 320\ndata.shapes_test = 100\nmodel.width = 8\nrun.epochs = 4";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let here = tempfile::tempdir()?;
    let run = here.path().join("run");
    let config = Config::parse(SMALL, &["optim.batch_size=64".into()])?;
    let data = config.open_data(&|_, _| ())?;
    let trainer = Trainer::new(config).data(data.clone());
    trainer.device(Choice::Cpu).out(&run).run()?;

    let mut encoder = Encoder::open(&run, &Choice::Cpu, (32, 32), |note| eprintln!("{note}"))?;
    let bank = encoder.features(&data.train, &mut |_, _| ())?;
    let queries = encoder.features(&data.test, &mut |_, _| ())?;
    println!("features of length {}", encoder.dim());

    let class = |label: u32| &data.classes[label as usize];
    let (all, mut hits) = (data.train.len(), 0);
    let similar = cosines(&queries, &bank, encoder.dim());
    for (i, row) in similar.chunks(all).enumerate() {
        let mut nearest: Vec<usize> = (0..all).collect();
        nearest.sort_by(|a, b| row[*b].total_cmp(&row[*a]));
        let (own, found) = (data.test.labels[i], data.train.labels[nearest[0]]);
        hits += usize::from(own == found);
        if i < 5 {
            let name = class(own);
            println!("test image {i}, {name}: nearest {:?}", &nearest[..3]);
        }
    }
    println!("nearest of the same class: {hits} of {}", data.test.len());
    Ok(())
}
