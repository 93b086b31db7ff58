//! Learning rates that differ from layer to layer.

use super::{ConfigError, Optim, Result};
use crate::nn::Backbone;
use crate::settings::Numbers;

impl Optim {
    /// Factors on the learning rate by layer of an encoder ([`crate::nn::Variable::layer`]). The last one is for all
    /// that is no encoder too: heads, predictors, decoders, classifiers.
    ///
    /// - `layer_decay` d: d^(last - layer) (BEiT, MAE's fine-tuning).
    /// - `layer_rates`: the blocks are cut into equal runs, one for each factor; layer 0 has the first factor and what
    ///   stands behind the blocks the last (layer-grafted pre-training, Jiang et al., ICLR 2023).
    /// - else 1.
    ///
    /// # Errors
    /// Both are set; the blocks cannot be cut into so many equal runs.
    pub fn layer_scales(&self, encoder: &dyn Backbone) -> Result<Vec<f64>> {
        let (layers, blocks) = (encoder.depth().max(1), encoder.blocks());
        let factors = self.layer_rates.numbers();
        let decay = self.layer_decay.numbers()[0];
        if factors.is_empty() {
            let powers = (0..layers).map(|id| decay.powi((layers - 1 - id) as i32));
            return Ok(powers.collect());
        }
        if self.layer_decay < 1.0 {
            return Err(ConfigError(format!(
                "optim.layer_decay {} and optim.layer_rates both set the rates of layers; give one of them",
                self.layer_decay
            )));
        }
        if blocks == 0 || !blocks.is_multiple_of(factors.len()) {
            let do_divide = (1..=blocks).filter(|n| blocks.is_multiple_of(*n));
            let do_divide: Vec<String> = do_divide.map(|n| n.to_string()).collect();
            return Err(ConfigError(format!(
                "optim.layer_rates has {} factors, which cut the encoder's {blocks} blocks into no equal runs; {} do",
                factors.len(),
                do_divide.join(", ")
            )));
        }
        let run = blocks / factors.len();
        let of = |id: usize| match id {
            0 => factors[0],
            id => factors[((id - 1) / run).min(factors.len() - 1)],
        };
        Ok((0..layers).map(of).collect())
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    fn scales(set: &[&str]) -> Result<Vec<f64>, String> {
        let set: Vec<String> = set.iter().map(ToString::to_string).collect();
        let c = Config::parse("", &set).map_err(|e| e.to_string())?;
        let encoder = c.backbone().map_err(|e| e.to_string())?;
        let scales = c.optim.layer_scales(encoder.as_ref());
        scales.map_err(|e| e.to_string())
    }

    /// Stem, four blocks, the last norm.
    const VIT: [&str; 2] = ["model.encoder=vit_tiny", "model.depth=4"];

    #[test]
    fn decay_and_runs_by_depth() {
        let of = |set: &str| scales(&[VIT[0], VIT[1], set]).unwrap();
        assert_eq!(of("optim.lr=1"), [1.0; 6]);
        assert_eq!(
            of("optim.layer_decay=0.5"),
            [0.03125, 0.0625, 0.125, 0.25, 0.5, 1.0]
        );
        assert_eq!(
            of("optim.layer_rates=[0.1, 1]"),
            [0.1, 0.1, 0.1, 1.0, 1.0, 1.0]
        );
        // A residual network has no layer behind its blocks: the classifier has the last block's rate.
        let resnet = scales(&["optim.layer_decay=0.5"]).unwrap();
        assert_eq!(resnet.last(), Some(&1.0));
        assert_eq!(resnet[0], 0.5f64.powi(resnet.len() as i32 - 1));
    }

    #[test]
    fn what_cannot_be_cut_is_refused_in_words() {
        for (set, want) in [
            (
                "optim.layer_rates=[1, 1, 1]",
                "3 factors, which cut the encoder's 4 blocks into no equal runs; 1, 2, 4 do",
            ),
            ("optim.layer_rates=[-1, 1]", "optim.layer_rates is -1"),
            ("optim.layer_rates=0.1", "must be a list of numbers, each"),
            ("optim.layer_decay=0", "optim.layer_decay is 0; it must be"),
            ("optim.layer_decay=1.5", "optim.layer_decay is 1.5"),
        ] {
            let e = scales(&[VIT[0], VIT[1], set]).unwrap_err();
            assert!(e.contains(want), "{set}: {e}");
            assert!(!e.contains('\n'), "{e}");
        }
        let both = ["optim.layer_decay=0.5", "optim.layer_rates=[1, 1]"];
        let e = scales(&[VIT[0], VIT[1], both[0], both[1]]).unwrap_err();
        assert!(e.contains("give one of them"), "{e}");
    }
}
