//! What the class token of a Vision Transformer looks at, as a picture: the weights that the last attention gives it,
//! laid over the images (Caron et al., ICCV 2021, show them so).

use super::sheet::{CELL_GAP, SHOWN, png};
use crate::data::augment::Policy;
use crate::data::{Dataset, packed};
use crate::graph::{
    Executor, Graph, GraphError, HostData, Result, StepScalars, TensorId, TensorType,
};
use crate::nn::{Backbone, Mode, Model, Net};
use crate::ops::augment::{Augment, words};
use crate::reference::augment::ROW;
use image::{Rgb, RgbImage, imageops};

/// Heads that a picture shows at most, from the first on.
pub const HEADS: usize = 6;

/// Images of a picture at most.
pub const IMAGES: usize = 6;

/// A graph that makes the weights of a few images.
#[derive(Clone, Debug)]
pub struct Maps {
    graph: Graph,
    images: TensorId,
    table: TensorId,
    pixels: TensorId,
    weights: TensorId,
    side: (usize, usize),
    policy: Policy,
}

/// A picture of the weights: a row an image.
#[derive(Clone, Debug)]
pub struct Picture {
    /// Columns: the image, the mean over all heads, the heads one by one up to [`HEADS`].
    pub image: RgbImage,
    /// Heads that the network has.
    pub heads: usize,
    /// Patches along a side.
    pub grid: usize,
    /// Names of the images.
    pub names: Vec<String>,
}

impl Picture {
    /// The picture as a PNG file.
    ///
    /// # Errors
    /// None is expected.
    pub fn png(&self) -> Result<Vec<u8>> {
        png(&self.image)
    }
}

impl Maps {
    /// The graph for `count` images of `side` (height, width), seen as squares of `size` by the test transform; none
    /// where the encoder has no class token.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn graph(
        encoder: &dyn Backbone,
        model: &mut Model,
        policy: &Policy,
        side: (usize, usize),
        size: usize,
        count: usize,
    ) -> Result<Option<Self>> {
        let mut graph = Graph::new();
        let ty = TensorType::u32([count, words(side.0, side.1)]);
        let images = graph.input("images", ty);
        let table = graph.input("views", TensorType::f32([count, ROW]));
        let op = Augment {
            blur: false,
            ..policy.op(side, size)
        };
        let pixels = graph.push1(op, &[images, table])?;
        let mut net = Net::new(&mut graph, model, Mode::Eval);
        let weights = encoder.layers(&mut net).attention(&mut net, pixels)?;
        Ok(weights.map(|weights| Self {
            graph,
            images,
            table,
            pixels,
            weights,
            side,
            policy: policy.clone(),
        }))
    }

    /// Compiles the graph for a program that only runs it: it has the images as input, and the weights
    /// [count,heads,tokens] as output. Returns the number of heads.
    ///
    /// # Errors
    /// Memory, shaders.
    pub fn compile(&self, exec: &mut dyn Executor) -> Result<usize> {
        let program = exec.compile(&self.graph, &[self.weights])?;
        let count = self.graph.dims(self.images)[0];
        let table = HostData::F32(self.policy.plain(self.side, count));
        exec.upload(program, self.table, &table)?;
        Ok(self.graph.dims(self.weights)[1])
    }

    /// The picture of the first images of `data`, six at most, by the weights that the executor
    /// holds.
    ///
    /// # Errors
    /// No images; images of another size than the graph was made for; device loss.
    pub fn picture(&self, exec: &mut dyn Executor, data: &Dataset) -> Result<Picture> {
        if data.is_empty() || (data.height, data.width) != self.side {
            return Err(GraphError::Invalid(format!(
                "no images of {}x{} to look at",
                self.side.0, self.side.1
            )));
        }
        let g = &self.graph;
        let [count, heads, tokens] = g
            .ty(self.weights)
            .rank("weights")
            .map_err(GraphError::Invalid)?;
        let shown = count.min(data.len());
        let ids: Vec<u32> = (0..shown as u32).collect();
        let mut x = packed::pack(data, &ids)?;
        x.fill(count);
        let program = exec.compile(g, &[self.pixels, self.weights])?;
        x.upload(exec, program, self.images)?;
        let table = HostData::F32(self.policy.plain(x.sides.as_slice(), count));
        exec.upload(program, self.table, &table)?;
        exec.run(program, &StepScalars::default())?;
        let pixels = exec.fetch(program, self.pixels)?.to_f32();
        let weights = exec.fetch(program, self.weights)?.to_f32();

        let size = g.dims(self.pixels)[1];
        let grid = (tokens - 1).isqrt();
        let cell = size as u32 * SHOWN.div_ceil(size as u32).max(1);
        let columns = 2 + heads.min(HEADS);
        let length = |cells: usize| cells as u32 * (cell + CELL_GAP) + CELL_GAP;
        let mut sheet = RgbImage::from_pixel(length(columns), length(shown), Rgb([255; 3]));
        let per_image = pixels
            .chunks(size * size * 3)
            .zip(weights.chunks(heads * tokens));
        for (row, (image, weights)) in per_image.take(shown).enumerate() {
            let image = self.shown(image, size, cell);
            // The class token's weight for itself is no place of the image.
            let of_heads: Vec<&[f32]> = weights.chunks(tokens).map(|w| &w[1..]).collect();
            let mean: Vec<f32> = (0..grid * grid)
                .map(|i| of_heads.iter().map(|w| w[i]).sum::<f32>() / heads as f32)
                .collect();
            let mut cells = vec![image.clone(), coloured(&image, &mean, grid)];
            cells.extend(
                of_heads
                    .iter()
                    .take(HEADS)
                    .map(|w| coloured(&image, w, grid)),
            );
            for (column, picture) in cells.iter().enumerate() {
                let at = |i: usize| i64::from(length(i));
                imageops::replace(&mut sheet, picture, at(column), at(row));
            }
        }
        Ok(Picture {
            image: sheet,
            heads,
            grid,
            names: (0..shown).map(|i| data.name(i)).collect(),
        })
    }

    /// Normalised pixels as an image of side `cell`.
    fn shown(&self, pixels: &[f32], size: usize, cell: u32) -> RgbImage {
        let (mean, std) = (self.policy.mean, self.policy.std);
        let byte = |(i, v): (usize, &f32)| ((v * std[i % 3] + mean[i % 3]) * 255.0).round() as u8;
        let bytes = pixels.iter().enumerate().map(byte).collect();
        let small = RgbImage::from_raw(size as u32, size as u32, bytes).unwrap_or_default();
        imageops::resize(&small, cell, cell, imageops::FilterType::Nearest)
    }
}

/// Colours of weights from none to the largest (viridis, whose brightness grows evenly).
const COLOURS: [[f32; 3]; 5] = [
    [68.0, 1.0, 84.0],
    [59.0, 82.0, 139.0],
    [33.0, 145.0, 140.0],
    [94.0, 201.0, 98.0],
    [253.0, 231.0, 37.0],
];

/// The colour of a share of the largest weight.
fn colour(share: f32) -> [f32; 3] {
    let at = share.clamp(0.0, 1.0) * (COLOURS.len() - 1) as f32;
    let low = (at as usize).min(COLOURS.len() - 2);
    std::array::from_fn(|c| {
        let [from, to] = [COLOURS[low][c], COLOURS[low + 1][c]];
        from + (to - from) * (at - low as f32)
    })
}

/// Weights [grid,grid] laid over an image in gray.
fn coloured(image: &RgbImage, weights: &[f32], grid: usize) -> RgbImage {
    let most = weights.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
    let mut out = image.clone();
    let side = image.width() as usize;
    for (x, y, pixel) in out.enumerate_pixels_mut() {
        let at = |i: u32| i as usize * grid / side;
        let [r, g, b] = pixel.0.map(f32::from);
        let gray = 0.299 * r + 0.587 * g + 0.114 * b;
        let colour = colour(weights[at(y) * grid + at(x)] / most);
        pixel.0 = colour.map(|c| (0.35 * gray + 0.65 * c).round() as u8);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::shapes;
    use crate::graph::host::HostExecutor;
    use crate::nn::backbones::family;

    fn encoder(name: &str, set: &str) -> std::sync::Arc<dyn Backbone> {
        let family = family(name).unwrap();
        let given = (family.complete)(&set.parse().unwrap()).unwrap();
        (family.build)(name, &given, 32).unwrap()
    }

    fn picture(net: &dyn Backbone, change: impl Fn(&str, &mut [f32])) -> Option<Picture> {
        let split = shapes::generate(0, 40, 10);
        let mut m = Model::default();
        let policy = Policy::default();
        let maps = Maps::graph(net, &mut m, &policy, (32, 32), 32, IMAGES).unwrap()?;
        let mut exec = HostExecutor::<f32>::new();
        exec.allocate_states(&m.states).unwrap();
        for v in &m.params {
            let mut values = v.initial(&m.dims(v), 3);
            change(&v.name, &mut values);
            exec.write_state(&m.states, v.id, &HostData::F32(values))
                .unwrap();
        }
        Some(
            maps.picture(&mut exec, &split.test.select(&[0, 1, 2, 3]))
                .unwrap(),
        )
    }

    #[test]
    fn a_row_an_image_and_a_column_a_head() {
        let net = encoder("vit_tiny", "dim = 16\ndepth = 2\nheads = 4\npatch = 8");
        // Without queries, every token looks at all alike.
        let of_queries = |name: &str, values: &mut [f32]| {
            if name.contains("attn.qkv") {
                let third = values.len() / 3;
                values[..third].fill(0.0);
            }
        };
        let p = picture(net.as_ref(), of_queries).unwrap();
        assert_eq!((p.heads, p.grid, p.names.len()), (4, 4, 4));
        let cell = 96;
        let step = cell + CELL_GAP;
        assert_eq!(
            p.image.dimensions(),
            (6 * step + CELL_GAP, 4 * step + CELL_GAP)
        );
        let at = |p: &Picture, column: u32, row: u32| {
            imageops::crop_imm(
                &p.image,
                CELL_GAP + column * step,
                CELL_GAP + row * step,
                cell,
                cell,
            )
            .to_image()
        };
        for row in 0..4 {
            for column in 1..6 {
                let all = coloured(&at(&p, 0, row), &[1.0; 16], 4);
                assert_eq!(at(&p, column, row), all, "{column} {row}");
            }
        }
        // The control: with queries, heads look elsewhere than their mean.
        let p = picture(net.as_ref(), |name, values| {
            if name.contains("attn.qkv") {
                values.iter_mut().for_each(|v| *v *= 8.0);
            }
        });
        let p = p.unwrap();
        assert_ne!(at(&p, 1, 0), coloured(&at(&p, 0, 0), &[1.0; 16], 4));
        assert_ne!(at(&p, 2, 0), at(&p, 1, 0));
        assert_ne!(at(&p, 3, 0), at(&p, 2, 0));
        let resnet = encoder("tiny", "width = 4");
        assert!(picture(resnet.as_ref(), |_, _| ()).is_none());
    }

    #[test]
    fn colours_are_those_of_the_weights() {
        let image = RgbImage::from_pixel(8, 8, Rgb([100; 3]));
        let out = coloured(&image, &[0.2, 0.1, 0.0, 0.4], 2);
        let seen = [(0, 0), (7, 0), (0, 7), (7, 7)].map(|(x, y)| out.get_pixel(x, y).0);
        let [half, quarter, none, most] =
            [2, 1, 0, 4].map(|i| COLOURS[i].map(|c| (35.0 + 0.65 * c).round() as u8));
        assert_eq!(seen, [half, quarter, none, most]);
    }
}
