//! Data sets as uint8 images, augmentation, sampling.

pub mod augment;
pub mod cifar;
pub mod packed;
pub mod sampler;
pub mod shapes;

use std::path::{Path, PathBuf};

/// Why data could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The path does not exist or cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What is there is not a data set that this program knows.
    #[error("{path}: {reason}")]
    Format {
        /// Where.
        path: PathBuf,
        /// What was expected.
        reason: String,
    },
}

/// Images of one size with labels.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// Pixels, image by image, rows, columns, RGB.
    pub images: Vec<u8>,
    /// Class of each image.
    pub labels: Vec<u32>,
    /// Height of every image.
    pub height: usize,
    /// Width of every image.
    pub width: usize,
}

impl Dataset {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }
    /// No images.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }
    /// Pixels of image `i`.
    pub fn image(&self, i: usize) -> &[u8] {
        let n = self.height * self.width * 3;
        &self.images[i * n..(i + 1) * n]
    }
}

/// Training and test images with their classes.
#[derive(Clone, Debug)]
pub struct Split {
    /// What was found, for the log.
    pub description: String,
    /// Images to train on.
    pub train: Dataset,
    /// Images to evaluate on.
    pub test: Dataset,
    /// Class names.
    pub classes: Vec<String>,
}

/// Opens `shapes` (the procedural set) or a folder of CIFAR binary files.
///
/// # Errors
/// Nothing known there, truncated files.
pub fn open(spec: &str, seed: u64, shapes: (usize, usize)) -> Result<Split, DataError> {
    if spec == "shapes" {
        return Ok(shapes::generate(seed, shapes.0, shapes.1));
    }
    let path = Path::new(spec);
    let entries = std::fs::read_dir(path).map_err(|source| DataError::Io {
        path: path.into(),
        source,
    })?;
    let names: Vec<String> = entries
        .filter_map(|e| e.ok()?.file_name().into_string().ok())
        .collect();
    if names
        .iter()
        .any(|n| n == "test_batch.bin" || n == "test.bin")
    {
        return cifar::open(path, &names);
    }
    Err(DataError::Format {
        path: path.into(),
        reason: "no data set that this version reads: expected CIFAR binary files (data_batch_*.bin and test_batch.bin, or train.bin and test.bin)".into(),
    })
}
