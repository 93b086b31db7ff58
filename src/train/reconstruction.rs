//! What a masked autoencoder makes of images, as a picture: a row an image, with what the encoder sees of it, the
//! prediction, and the image.

use super::pass::Pass;
use super::{Config, Result};
use crate::data::Dataset;
use crate::eval::sheet::{grid, png};
use crate::graph::{Executor, StepScalars, TensorId};
use crate::methods::{Method, Reconstructed};
use crate::nn::import::{Named, import};
use crate::nn::{Mode, Model, Net};
use image::RgbImage;

/// Images of the pictures that a run shows.
pub const SHOWN: usize = 8;

/// Grey of hidden patches, of 1.
const HIDDEN: f32 = 0.5;
/// Added to a patch's variance where targets are standardised (MAE).
const EPS: f64 = crate::methods::loss::reconstruction::EPS;

/// A picture of reconstructions.
pub struct Pictures {
    /// A row an image; columns as [`Pictures::COLUMNS`] names them, without the prediction where there are no weights.
    pub image: RgbImage,
    /// Names of the images.
    pub names: Vec<String>,
    /// Patches of an image, and how many of them the encoder sees.
    pub patches: (usize, usize),
    /// The root of the mean square error of the hidden pixels as they are shown, of 1; none without weights.
    pub error: Option<f64>,
}

impl Pictures {
    /// What the columns are.
    pub const COLUMNS: [&str; 3] = ["masked", "predicted", "original"];

    /// As a PNG file.
    ///
    /// # Errors
    /// None is expected.
    pub fn png(&self) -> Result<Vec<u8>> {
        Ok(png(&self.image)?)
    }
}

/// A graph that reconstructs, compiled.
struct Compiled {
    pass: Pass,
    model: Model,
    shown: Reconstructed,
}

/// Reconstructs the first `count` images of a set by a method's network with these weights, as a run of this seed masks
/// them in `epoch`; without weights only what the encoder would see is shown. None for methods that reconstruct
/// nothing. `exec` must be a fresh one, on which nothing is compiled yet.
///
/// # Errors
/// Device loss.
pub fn pictures(
    config: &Config,
    method: &dyn Method,
    (weights, epoch): (Option<&Named>, u32),
    (data, count): (&Dataset, usize),
    exec: &mut dyn Executor,
) -> Result<Option<Pictures>> {
    let n = count.min(data.len());
    let Some(c) = compile(config, method, (data, n), weights.is_some(), exec)? else {
        return Ok(None);
    };
    c.model.initialise(exec, config.run.seed)?;
    if let Some(weights) = weights {
        import(&c.model, exec, weights)?;
    }
    let ids: Vec<u32> = (0..n as u32).collect();
    c.pass.send(exec, config, (data, &ids), epoch)?;
    exec.run(c.pass.program, &StepScalars::default())?;
    let fetch = |exec: &mut dyn Executor, t: TensorId| -> Result<Vec<f32>> {
        Ok(exec.fetch(c.pass.program, t)?.to_f32())
    };
    let (seen, target) = (fetch(exec, c.shown.seen)?, fetch(exec, c.shown.target)?);
    let mask = fetch(exec, c.shown.mask)?;
    let pred = match weights {
        Some(_) => Some(fetch(exec, c.shown.pred)?),
        None => None,
    };

    let s = Shape {
        side: config.model.image_size,
        patch: c.shown.patch,
        config,
    };
    let (mut rows, mut squares, mut hidden) = (Vec::new(), 0.0, 0usize);
    for i in 0..n {
        let image = |all: &[f32]| all[i * s.values()..(i + 1) * s.values()].to_vec();
        let of_image = &mask[i * s.patches()..(i + 1) * s.patches()];
        let original = s.shown(&image(&target));
        let masked = s.choose(of_image, &vec![HIDDEN; s.values()], &s.shown(&image(&seen)));
        let mut row = vec![masked];
        if let Some(pred) = &pred {
            let own = c.shown.norm_pix.then(|| image(&target));
            let pixels = s.unpatched(&image(pred), own.as_deref());
            let pixels = s.choose(of_image, &s.shown(&pixels), &original);
            for (a, b) in pixels.iter().zip(&original) {
                squares += f64::from(a - b).powi(2);
            }
            hidden += of_image.iter().filter(|m| **m > 0.0).count();
            row.push(pixels);
        }
        row.push(original);
        rows.push(row);
    }
    let values = (hidden * s.patch * s.patch * 3).max(1) as f64;
    let visible = mask[..s.patches()].iter().filter(|m| **m == 0.0).count();
    Ok(Some(Pictures {
        image: grid(&rows, s.side),
        names: (0..n).map(|i| data.name(i)).collect(),
        patches: (s.patches(), visible),
        error: pred.is_some().then(|| (squares / values).sqrt()),
    }))
}

fn compile(
    config: &Config,
    method: &dyn Method,
    (data, count): (&Dataset, usize),
    predicts: bool,
    exec: &mut dyn Executor,
) -> Result<Option<Compiled>> {
    let Some(of) = method.reconstructs() else {
        return Ok(None);
    };
    let (draws, side) = (method.draws(), (data.height, data.width));
    let mut model = Model::default();
    let mut pass = Pass::new(config, count, &draws, &model, side, None)?;
    let batch = pass.batch.clone();
    let mut net = Net::new(&mut pass.draft.graph, &mut model, Mode::Eval);
    let shown = of.reconstructed(&mut net, &batch)?;
    let mut fetch = vec![shown.seen, shown.target, shown.mask];
    fetch.extend(predicts.then_some(shown.pred));
    exec.allocate_states(&model.states)?;
    pass.program = exec.compile(&pass.draft.graph, &fetch)?;
    Ok(Some(Compiled { pass, model, shown }))
}

/// How an image is cut.
struct Shape<'a> {
    side: usize,
    patch: usize,
    config: &'a Config,
}

impl Shape<'_> {
    fn values(&self) -> usize {
        self.side * self.side * 3
    }

    fn patches(&self) -> usize {
        (self.side / self.patch).pow(2)
    }

    /// The place of value `v` of patch `p` among an image's values.
    fn place(&self, p: usize, v: usize) -> usize {
        let grid = self.side / self.patch;
        let (row, column) = (v / (3 * self.patch), v / 3 % self.patch);
        let (y, x) = (p / grid * self.patch + row, p % grid * self.patch + column);
        (y * self.side + x) * 3 + v % 3
    }

    /// Normalised pixels as they are shown, from 0 to 1.
    fn shown(&self, pixels: &[f32]) -> Vec<f32> {
        let a = &self.config.augment;
        let one = |(i, v): (usize, &f32)| (v * a.std[i % 3] + a.mean[i % 3]).clamp(0.0, 1.0);
        pixels.iter().enumerate().map(one).collect()
    }

    /// `hidden` where the mask hides a patch, else `visible`.
    fn choose(&self, mask: &[f32], hidden: &[f32], visible: &[f32]) -> Vec<f32> {
        let mut out = visible.to_vec();
        for (p, _) in mask.iter().enumerate().filter(|(_, m)| **m > 0.0) {
            for v in 0..self.patch * self.patch * 3 {
                let at = self.place(p, v);
                out[at] = hidden[at];
            }
        }
        out
    }

    /// Predicted patches as an image; where each was standardised, with the mean and deviation of the `target`'s own.
    fn unpatched(&self, pred: &[f32], target: Option<&[f32]>) -> Vec<f32> {
        let each = self.patch * self.patch * 3;
        let mut out = vec![0.0; pred.len()];
        for (p, patch) in pred.chunks(each).enumerate() {
            let (mean, deviation) = match target {
                None => (0.0, 1.0),
                Some(t) => {
                    let own = (0..each).map(|v| f64::from(t[self.place(p, v)]));
                    let mean = own.clone().sum::<f64>() / each as f64;
                    let squares = own.map(|v| (v - mean).powi(2)).sum::<f64>();
                    (mean, (squares / (each - 1) as f64 + EPS).sqrt())
                }
            };
            for (v, value) in patch.iter().enumerate() {
                out[self.place(p, v)] = (f64::from(*value) * deviation + mean) as f32;
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::host::HostExecutor;
    use crate::graph::{Graph, HostData, TensorType};
    use crate::methods::loss::reconstruction::pixel_target;

    /// A decoder that predicts its target exactly gives the image back, whether patches are standardised or not.
    #[test]
    fn a_perfect_prediction_is_the_image() {
        let config = Config::default();
        let s = Shape {
            side: 8,
            patch: 4,
            config: &config,
        };
        let image: Vec<f32> = (0..192)
            .map(|i| ((i * 37) % 101) as f32 / 50.0 - 1.0)
            .collect();
        for norm_pix in [false, true] {
            let mut g = Graph::new();
            let x = g.input("x", TensorType::f32([1, 8, 8, 3]));
            let target = pixel_target(&mut g, x, 4, norm_pix).unwrap();
            let given = [(x, HostData::F32(image.clone()))];
            let mut exec = HostExecutor::<f32>::new();
            let pred = exec.evaluate(&g, &given, &[target]).unwrap()[0].to_f32();
            let own = norm_pix.then_some(&image[..]);
            let back = s.unpatched(&pred, own);
            // Numbers of size 1 that were divided by a deviation of about 0.6 and multiplied by it again, in f32.
            let off = back.iter().zip(&image).map(|(a, b)| (a - b).abs());
            assert!(off.fold(0.0, f32::max) < 1e-6, "{norm_pix}");
            // The control: without their own mean and deviation standardised patches are no image.
            if norm_pix {
                let raw = s.unpatched(&pred, None);
                assert!(raw.iter().zip(&image).any(|(a, b)| (a - b).abs() > 0.1));
            }
        }
        // Patch 1 is the upper right one.
        let chosen = s.choose(&[0.0, 1.0, 0.0, 0.0], &[9.0; 192], &image);
        assert_eq!(chosen[4 * 3..8 * 3], [9.0; 12]);
        assert_eq!((&chosen[..12], &chosen[96..]), (&image[..12], &image[96..]));
    }
}
