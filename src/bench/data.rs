//! How fast images come from a data set, by stage, and whether that is fast enough for the training step.

use super::step;
use super::{Ceilings, Effort};
use crate::data::ahead::Ahead;
use crate::data::packed::pack;
use crate::data::sampler::permutation;
use crate::data::{Dataset, Spent};
use crate::graph::{Executor, Graph, HostData, StepScalars, TensorType};
use crate::ops::augment::words;
use crate::reference::augment::ROW;
use crate::train::{Config, TrainError};
use serde::Serialize;
use std::time::Instant;

/// Images of a batch while reading is timed.
const BATCH: usize = 64;

/// What was measured. All rates are images a second.
#[derive(Clone, Debug, Default, Serialize)]
pub struct DataReport {
    /// What the data are.
    pub data: String,
    /// Side to which images are brought.
    pub side: usize,
    /// Images that were read to measure the stages.
    pub read_images: u64,
    /// Of one thread that does nothing else: getting the bytes.
    pub read: f64,
    /// Of one thread: decoding.
    pub decode: f64,
    /// Of one thread: bringing to size.
    pub resize: f64,
    /// By threads, whole batches: how many, and images a second.
    pub threads: Vec<(usize, f64)>,
    /// Sending batches to the device.
    pub upload: f64,
    /// Making two views of each on the device.
    pub views: f64,
    /// What the training step takes, its images at hand.
    pub step: f64,
    /// The step's adapter.
    pub device: String,
}

impl DataReport {
    /// What bounds a training, in words.
    pub fn verdict(&self) -> String {
        let Some((threads, rate)) = self.threads.last() else {
            return "all images are in memory: reading bounds nothing".into();
        };
        let (threads, rate, step) = (*threads, *rate, self.step);
        let of = match threads {
            1 => "one thread reads".into(),
            n => format!("{n} threads read"),
        };
        if rate >= step {
            return format!(
                "the training step bounds it: it takes {step:.0} images/s, and {of} {rate:.0}"
            );
        }
        let most = [
            (self.read, "read"),
            (self.decode, "decode"),
            (self.resize, "resize"),
        ];
        let slowest = most.iter().min_by(|a, b| a.0.total_cmp(&b.0));
        let slowest = slowest.map_or("", |s| s.1);
        format!(
            "reading bounds it: {of} {rate:.0} images/s, and the training step takes {step:.0}; it would wait {:.0} % \
             of the time. Most of the reading is `{slowest}`; more threads (data.threads) or a packed set (amcl-wgpu \
             data pack) are faster",
            100.0 * (1.0 - rate / step)
        )
    }
}

/// Images a second of one thread.
fn rate(images: u64, seconds: f64) -> f64 {
    if seconds > 0.0 {
        images as f64 / seconds
    } else {
        f64::INFINITY
    }
}

/// Reads batches of `data` in a random order by its own threads for some seconds.
///
/// # Errors
/// Images that cannot be read.
pub fn reading(data: &Dataset, seconds: f64) -> Result<(f64, Spent), TrainError> {
    let order = permutation(data.len(), 0, 0);
    let batches: Vec<Vec<u32>> = order.chunks(BATCH).map(<[u32]>::to_vec).collect();
    let coming = batches.clone().into_iter().cycle();
    let before = data.spent().unwrap_or_default();
    let mut ahead = Ahead::new(data, coming, BATCH, 1.0)?;
    let (begin, mut images) = (Instant::now(), 0);
    for ids in batches.iter().cycle() {
        if let Some(ahead) = &mut ahead {
            ahead.next(ids, &mut |_| ())?;
        }
        images += ids.len() as u64;
        if begin.elapsed().as_secs_f64() > seconds {
            break;
        }
    }
    // What was read ahead and is not handed out yet took time too, and counts.
    let read = data.spent().unwrap_or_default();
    let elapsed = begin.elapsed().as_secs_f64();
    let done = (read.images - before.images).max(images);
    let spent = Spent {
        images: read.images - before.images,
        read: read.read - before.read,
        decode: read.decode - before.decode,
        resize: read.resize - before.resize,
    };
    Ok((done as f64 / elapsed, spent))
}

impl DataReport {
    /// Takes the rates of the stages from what one thread spent.
    pub fn stages(&mut self, s: Spent) {
        self.read_images = s.images;
        self.read = rate(s.images, s.read.as_secs_f64());
        self.decode = rate(s.images, s.decode.as_secs_f64());
        self.resize = rate(s.images, s.resize.as_secs_f64());
    }
}

/// Images a second that go to the device, and of which it makes two views each.
///
/// # Errors
/// Device loss, images that cannot be read.
pub fn device(
    config: &Config,
    exec: &mut dyn Executor,
    data: &Dataset,
    seconds: f64,
) -> Result<(f64, f64), TrainError> {
    let n = config.optim.batch_size.min(data.len());
    let (side, size) = ((data.height, data.width), config.model.image_size);
    let mut g = Graph::new();
    let x = g.input("images", TensorType::u32([n, words(side.0, side.1)]));
    let table = g.input("table", TensorType::f32([2 * n, ROW]));
    let policy = &config.augment;
    let views = g.push1(policy.op(side, size), &[x, table])?;
    let out = g.sum(views)?;
    let program = exec.compile(&g, &[out])?;
    let ids: Vec<u32> = (0..n as u32).collect();
    let images = pack(data, &ids)?;
    let sides = images.sides.as_slice();
    let rows = HostData::F32(policy.two_views(sides, &ids, size, config.run.seed, 0));
    let images = HostData::U32(images.words);
    exec.upload(program, table, &rows)?;
    exec.upload(program, x, &images)?;
    exec.run(program, &StepScalars::default())?;
    exec.fetch(program, out)?;
    let mut timed = |act: &mut dyn FnMut(&mut dyn Executor) -> crate::graph::Result<()>| {
        let (begin, mut runs) = (Instant::now(), 0usize);
        while runs == 0 || begin.elapsed().as_secs_f64() < seconds {
            act(exec)?;
            exec.fetch(program, out)?;
            runs += 1;
        }
        Ok::<f64, TrainError>((runs * n) as f64 / begin.elapsed().as_secs_f64())
    };
    let scalars = StepScalars::default();
    let views = timed(&mut |exec| exec.run(program, &scalars))?;
    let both = timed(&mut |exec| {
        exec.upload(program, x, &images)?;
        exec.run(program, &scalars)
    })?;
    // What sending adds to the time of an image.
    Ok((1.0 / (1.0 / both - 1.0 / views).max(1e-12), views))
}

/// Images a second of the training step on the first images of `data`.
///
/// # Errors
/// As training.
pub fn training(
    config: &Config,
    exec: Box<dyn Executor>,
    data: &Dataset,
    effort: Effort,
) -> Result<f64, TrainError> {
    let row = step::measure_on(data, "", config, exec, effort, Ceilings::default())?;
    Ok(row.views_per_s / 2.0)
}
