//! A method of one's own, trained for some steps: spectral contrastive learning (HaoChen et al., NeurIPS 2021), which
//! makes the two views of an image alike and the products of different images small:
//! -2 mean_i z1_i z2_i + mean_ij (z1_i z2_j)^2, on embeddings of unit length.
//!
//!     cargo run --release --example custom_method
//!
//! What a method can draw, keep and show beside this is in `docs/ADDING_A_METHOD.md`. `Encoder::of_method` opens the
//! encoder of the run.

use amcl_wgpu::prelude::*;
use std::sync::Arc;

struct Spectral(Arc<dyn Backbone>);

impl Method for Spectral {
    fn encoder(&self) -> &dyn Backbone {
        self.0.as_ref()
    }
    fn build(&self, net: &mut Net<'_>, batch: &Batch) -> Result<LossOutput, GraphError> {
        let encoder = net.part(Part::Encoder, |net| self.0.layers(net));
        let head = Mlp::plain(1, 32, 16).layers(net, Part::Projector, self.0.width());
        let mut z = Vec::new();
        for view in &batch.views {
            let features = encoder.call(net, *view)?.pooled;
            let embedding = head.call(net, features)?;
            z.push(net.l2_normalize(embedding)?);
        }
        let own = net.row_dot(z[0], z[1])?;
        let alike = net.scaled_sum(own, -2.0 / batch.images as f64)?;
        let all = net.matmul_nt(z[0], z[1])?;
        let squares = net.mul(all, all)?;
        let spread = net.mean(squares)?;
        Ok(LossOutput::of_loss(net.add(alike, spread)?))
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let small = "version = 4\ndata.shapes_train = 256\nmodel.width = 8\nrun.epochs = 4";
    let config = Config::parse(small, &["optim.batch_size=64".into()])?;
    let method = Spectral(config.backbone()?);
    Trainer::new(config)
        .method(Box::new(method))
        .device(Choice::Cpu)
        .out(tempfile::tempdir()?.path().join("run"))
        .on_event(|event| {
            if let Event::Epoch(e) = event {
                println!("epoch {}: loss {:.4}", e.at.epoch, e.loss);
            }
        })
        .run()?;
    Ok(())
}
