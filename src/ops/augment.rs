//! `augment`: views of uint8 images in one fused kernel (two more where there is blur). Twin: `reference/augment.rs`.

use crate::device::Limits;
use crate::device::recording::{Recorder, View, row_chunks};
use crate::graph::{Bindings, Class, HostIo, Op, Result, TensorType};
use crate::reference::Scalar;
use crate::reference::augment::{self, Filter, ROW, Shape};
use crate::{kernel, twin};

/// Images u32 [b, words] (bytes packed little-endian: rows, columns, RGB) and a table f32 [views*b, 16] (see
/// [`crate::reference::augment`]) -> f32 [views*b, size, size, 3]; view r shows image r mod b. No gradient: images
/// are data.
///
/// An image lies at the beginning of its `words`, and may have fewer pixels than they hold: its row says its width, and
/// its crop stays within its height.
#[derive(Clone, Copy, Debug)]
pub struct Augment {
    /// Height of an image that takes all the words.
    pub height: usize,
    /// Width of an image that takes all the words.
    pub width: usize,
    /// Side of the views.
    pub size: usize,
    /// How crops are brought to this size.
    pub filter: Filter,
    /// Some rows blur: two more passes and a temporary.
    pub blur: bool,
    /// Channel means.
    pub mean: [f32; 3],
    /// Channel deviations.
    pub std: [f32; 3],
}

/// Words that an image of these sides takes.
pub fn words(height: usize, width: usize) -> usize {
    (height * width * 3).div_ceil(4)
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    images: u32,
    size: u32,
    words: u32,
    rows: u32,
    first: u32,
    finish: u32,
    unused: [u32; 2],
    mean: [f32; 4],
    inv_std: [f32; 4],
}

impl Augment {
    fn params(&self, images: usize, rows: usize, first: usize) -> Params {
        let pad = |v: [f32; 3]| [v[0], v[1], v[2], 0.0];
        Params {
            images: images as u32,
            size: self.size as u32,
            words: words(self.height, self.width) as u32,
            rows: rows as u32,
            first: first as u32,
            finish: u32::from(!self.blur),
            unused: [0; 2],
            mean: pad(self.mean),
            inv_std: pad(self.std.map(|s| 1.0 / s)),
        }
    }

    fn output(&self, rows: usize) -> TensorType {
        TensorType::f32([rows, self.size, self.size, 3])
    }

    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let of = |v: [f32; 3]| v.map(|v| T::of(f64::from(v)));
        let f = Shape {
            images: io.input_types[0].dims()[0],
            size: self.size,
            filter: self.filter,
            mean: of(self.mean),
            inv_std: of(self.std).map(|s| T::one() / s),
        };
        let (x, table) = (io.input_u32(0), io.input(1));
        augment::augment(&f, x, table, io.output(0));
    }
}

impl Op for Augment {
    fn name(&self) -> &'static str {
        "augment"
    }
    fn class(&self) -> Class {
        Class::Augmentation
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let [b, w] = inputs[0].rank("images")?;
        let [rows, row] = inputs[1].rank("table")?;
        let need = words(self.height, self.width);
        if b == 0 || self.size == 0 || w != need {
            return Err(format!(
                "images of {}x{} take {need} words each",
                self.height, self.width
            ));
        }
        if row != ROW || rows % b != 0 {
            return Err(format!(
                "the table has {ROW} values a view, and as many views for every image"
            ));
        }
        Ok(vec![self.output(rows)])
    }
    fn workspace(&self, inputs: &[&TensorType], _limits: &Limits) -> Vec<TensorType> {
        if self.blur {
            vec![self.output(inputs[1].dims()[0])]
        } else {
            Vec::new()
        }
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let (x, table, y) = (&io.inputs[0], &io.inputs[1], &io.outputs[0]);
        let images = x.dims()[0];
        for r in row_chunks(&[table, y], rec.limits()) {
            let p = self.params(images, r.len(), r.start);
            let (table, y) = (table.rows(r.clone()), y.rows(r.clone()));
            let main = kernel!("augment", "main")
                .flag("MAIN", true)
                .flag("BICUBIC", self.filter == Filter::Bicubic);
            rec.dispatch(&main, &p, &[x, &table, &y], r.len())?;
            if self.blur {
                let half: View = io.workspace[0].rows(r.clone());
                let groups = (r.len() * self.size * self.size).div_ceil(64);
                let blur = kernel!("augment", "blur");
                let along_rows = blur.clone().flag("AXIS_X", true);
                rec.dispatch(&along_rows, &p, &[&y, &table, &half], groups)?;
                rec.dispatch(&blur, &p, &[&half, &table, &y], groups)?;
            }
        }
        Ok(())
    }
    twin!();
}
