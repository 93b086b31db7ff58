//! TensorBoard event files: `TFRecord` framing (length, masked CRC-32C) around the protobuf messages of
//! `tensorflow/core/util/event.proto` and `tensorflow/core/framework/summary.proto`, as far as scalars, histograms
//! and images need them.

use prost::Message;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
    #[prost(message, optional, tag = "4")]
    image: Option<Image>,
    #[prost(message, optional, tag = "5")]
    histogram: Option<Histogram>,
}

#[derive(Clone, PartialEq, Message)]
struct Image {
    #[prost(int32, tag = "1")]
    height: i32,
    #[prost(int32, tag = "2")]
    width: i32,
    #[prost(int32, tag = "3")]
    colorspace: i32,
    #[prost(bytes = "vec", tag = "4")]
    encoded: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Histogram {
    #[prost(double, tag = "1")]
    min: f64,
    #[prost(double, tag = "2")]
    max: f64,
    #[prost(double, tag = "3")]
    num: f64,
    #[prost(double, tag = "4")]
    sum: f64,
    #[prost(double, tag = "5")]
    sum_squares: f64,
    #[prost(double, repeated, tag = "6")]
    bucket_limit: Vec<f64>,
    #[prost(double, repeated, tag = "7")]
    bucket: Vec<f64>,
}

/// Buckets of a histogram.
const BUCKETS: usize = 60;

fn histogram(values: &[f32]) -> Histogram {
    let finite = || {
        values
            .iter()
            .map(|v| f64::from(*v))
            .filter(|v| v.is_finite())
    };
    let min = finite().fold(f64::INFINITY, f64::min);
    let max = finite().fold(f64::NEG_INFINITY, f64::max);
    let width = (max - min).max(1e-12) / BUCKETS as f64;
    let mut bucket = vec![0.0; BUCKETS];
    for v in finite() {
        bucket[(((v - min) / width) as usize).min(BUCKETS - 1)] += 1.0;
    }
    Histogram {
        min,
        max,
        num: finite().count() as f64,
        sum: finite().sum(),
        sum_squares: finite().map(|v| v * v).sum(),
        bucket_limit: (1..=BUCKETS).map(|i| min + i as f64 * width).collect(),
        bucket,
    }
}

/// Appends to one event file.
#[derive(Debug)]
pub struct Events {
    file: File,
}

impl Events {
    /// Creates `events.out.tfevents.<seconds>.<process>` in `folder`: a name of its own for each start, so a resumed
    /// run adds a file.
    ///
    /// # Errors
    /// The file cannot be made, or exists.
    pub fn create(folder: &Path) -> io::Result<Self> {
        // A clock that goes back, or a process number that comes again, must not stop a run.
        let base = format!(
            "events.out.tfevents.{}.{}",
            wall_time() as u64,
            std::process::id()
        );
        let mut number = 0;
        let file = loop {
            let name = match number {
                0 => base.clone(),
                n => format!("{base}.{n}"),
            };
            match File::create_new(folder.join(name)) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => number += 1,
                other => break other?,
            }
        };
        let mut events = Self { file };
        events.record(&Event {
            wall_time: wall_time(),
            file_version: Some("brain.Event:2".into()),
            ..Event::default()
        })?;
        Ok(events)
    }

    fn summary(&mut self, step: u64, value: Vec<Value>) -> io::Result<()> {
        self.record(&Event {
            wall_time: wall_time(),
            step: step as i64,
            summary: Some(Summary { value }),
            ..Event::default()
        })
    }

    /// Writes scalars of one step.
    ///
    /// # Errors
    /// The disk.
    pub fn scalars(&mut self, step: u64, values: &[(&str, f32)]) -> io::Result<()> {
        let value = |(tag, v): &(&str, f32)| Value {
            tag: tag.to_string(),
            simple_value: Some(*v),
            ..Value::default()
        };
        self.summary(step, values.iter().map(value).collect())
    }

    /// Writes the histogram of some values.
    ///
    /// # Errors
    /// The disk.
    pub fn histogram(&mut self, step: u64, tag: &str, values: &[f32]) -> io::Result<()> {
        let value = Value {
            tag: tag.into(),
            histogram: Some(histogram(values)),
            ..Value::default()
        };
        self.summary(step, vec![value])
    }

    /// Writes a picture: a PNG file of these sides.
    ///
    /// # Errors
    /// The disk.
    pub fn image(
        &mut self,
        step: u64,
        tag: &str,
        (width, height): (u32, u32),
        png: &[u8],
    ) -> io::Result<()> {
        let image = Image {
            height: height as i32,
            width: width as i32,
            colorspace: 3,
            encoded: png.to_vec(),
        };
        let value = Value {
            tag: tag.into(),
            image: Some(image),
            ..Value::default()
        };
        self.summary(step, vec![value])
    }

    /// One write a record, so that a killed run leaves whole records.
    fn record(&mut self, event: &Event) -> io::Result<()> {
        self.file.write_all(&frame(&event.encode_to_vec()))
    }
}

fn frame(message: &[u8]) -> Vec<u8> {
    let length = (message.len() as u64).to_le_bytes();
    let mut out = Vec::with_capacity(message.len() + 16);
    out.extend(length);
    out.extend(masked(&length).to_le_bytes());
    out.extend(message);
    out.extend(masked(message).to_le_bytes());
    out
}

/// The mask keeps a CRC of data that holds CRCs from being weak (`tensorflow/core/lib/hash/crc32c.h`).
fn masked(data: &[u8]) -> u32 {
    crc32c::crc32c(data)
        .rotate_right(15)
        .wrapping_add(0xa282_ead8)
}

fn wall_time() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |d| d.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc_and_mask_follow_the_published_vectors() {
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
        // The first 12 bytes of every file whose first record is 24 bytes long, as TensorFlow writes them.
        assert_eq!(
            masked(&24u64.to_le_bytes()).to_le_bytes(),
            [0xa3, 0x7f, 0x4b, 0x22]
        );
    }

    #[test]
    fn a_name_that_is_taken_does_not_stop_a_run() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        for _ in 0..3 {
            Events::create(folder.path())?;
        }
        assert_eq!(std::fs::read_dir(folder.path())?.count(), 3);
        Ok(())
    }

    #[test]
    fn histograms_count_every_finite_value() {
        let h = histogram(&[0.0, 1.0, 1.0, f32::NAN, 0.5]);
        assert_eq!((h.num, h.min, h.max, h.sum), (4.0, 0.0, 1.0, 2.5));
        assert_eq!((h.bucket.iter().sum::<f64>(), h.bucket[59]), (4.0, 2.0));
    }

    #[test]
    fn a_file_is_a_chain_of_whole_records() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let mut events = Events::create(folder.path())?;
        events.scalars(300, &[("loss", 1.5), ("lr", 0.25)])?;
        events.histogram(300, "similarity", &[0.5, 1.0])?;
        let path = std::fs::read_dir(folder.path())?.next().unwrap()?.path();
        let data = std::fs::read(path)?;
        let (mut at, mut records) = (0, 0);
        while at < data.len() {
            let n = u64::from_le_bytes(data[at..at + 8].try_into().unwrap()) as usize;
            assert_eq!(frame(&data[at + 12..at + 12 + n]), data[at..at + 16 + n]);
            at += 16 + n;
            records += 1;
        }
        assert_eq!((at, records), (data.len(), 3));
        Ok(())
    }
}
