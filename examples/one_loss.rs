//! One loss and its gradients on given embeddings, against PyTorch's numbers.
//!
//!     cargo run --no-default-features --example one_loss [DEVICE]
//!
//! The eight pairs of embeddings and the number are those of `tests/golden/nt_xent_b8.safetensors`, which
//! `tests/golden/make_golden.py` wrote with PyTorch in f64. Embeddings of your own are `Array::new(&[8, 16], values)`.
//! DEVICE is `cpu` (f64, the default), `auto`, `gpu` or part of an adapter's name (f32).

use amcl_wgpu::prelude::*;

const PYTORCH: f64 = 1.496_406_900_150_174;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/golden/nt_xent_b8.safetensors"
    );
    let stored = LossFile::parse(&std::fs::read(path)?)?.tensors;
    let device: Choice = std::env::args().nth(1).unwrap_or("cpu".into()).parse()?;

    let inputs = [("z1", &stored["z1"]), ("z2", &stored["z2"])];
    let got = evaluate(&Loss::nt_xent(0.5), &inputs, &device)?;

    let error = (got.loss - PYTORCH).abs() / PYTORCH;
    println!("NT-Xent of 8 pairs at temperature 0.5, on {device}");
    println!("loss      {:.12}", got.loss);
    println!("PyTorch   {PYTORCH:.12}");
    println!("loss: relative error {error:.1e}");
    for (name, gradient) in &got.gradients {
        let theirs = &stored[&format!("grad.{name}")].values;
        let differences = gradient.values.iter().zip(theirs).map(|(a, b)| a - b);
        let error = length(differences) / length(theirs.iter().copied());
        println!("gradient of {name}: relative error {error:.1e}");
    }
    Ok(())
}

fn length(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|v| v * v).sum::<f64>().sqrt()
}
