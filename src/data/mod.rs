//! Data sets as uint8 images, augmentation, sampling.

pub mod ahead;
pub mod augment;
mod binary;
#[doc(hidden)]
pub mod cifar;
mod columns;
mod dataset;
#[cfg(feature = "download")]
pub mod download;
pub mod fingerprint;
pub mod folder;
mod gzip;
#[doc(hidden)]
pub mod idx;
mod ilsvrc;
pub mod inspect;
mod jpeg;
mod layout;
pub mod list;
mod listed;
mod load;
pub mod mixing;
mod names;
pub mod pack;
pub mod packed;
mod parts;
pub mod pixels;
pub mod rand_augment;
pub mod sampler;
pub mod sets;
pub mod shapes;
mod shard_files;
mod shards;
mod source;
mod split;
#[doc(hidden)]
pub mod stl10;
mod stored;
mod subset;
pub mod survey;
#[cfg(feature = "tables")]
mod tables;
mod tally;
mod tars;
mod tree;
#[cfg(feature = "turbojpeg")]
mod turbo;

pub use dataset::Dataset;
pub use pixels::{Alpha, Decoder, Kept, Reading};
pub use split::draw_per_class;
pub use stored::{Keeping, Spent};

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

/// Result of what reads data.
pub type Result<T> = std::result::Result<T, DataError>;

impl From<DataError> for crate::graph::GraphError {
    fn from(e: DataError) -> Self {
        Self::Invalid(e.to_string())
    }
}

/// Training and test images with their classes.
#[derive(Clone, Debug)]
pub struct Split {
    /// What was found and which split rule applies, for the log.
    pub description: String,
    /// What was left out and why.
    pub warnings: Vec<String>,
    /// Images to train on.
    pub train: Dataset,
    /// Labelled images that evaluation learns from, where those are not all of `train`.
    pub labelled: Option<Dataset>,
    /// Images to evaluate on; empty when there are no labels to evaluate with.
    pub test: Dataset,
    /// Class names; empty when the images are not labelled.
    pub classes: Vec<String>,
}

impl Split {
    /// The labelled images that evaluation learns from.
    pub fn bank(&self) -> &Dataset {
        self.labelled.as_ref().unwrap_or(&self.train)
    }
    /// Why accuracies cannot be measured, or would mean nothing; none where they can.
    pub fn unmeasured(&self) -> Option<&'static str> {
        match self.classes.len() {
            0 => Some("there are no labels"),
            _ if self.test.is_empty() => Some("there are no test images"),
            _ if self.bank().labels.is_empty() => {
                Some("there are no labelled images to learn from")
            }
            1 => Some("there is one class alone, of which an accuracy means nothing"),
            _ => None,
        }
    }
}

/// What to open, and how.
pub struct Request<'a> {
    /// `shapes`, a folder, or a file: a CSV list, or shards.
    pub path: &'a str,
    /// Seed of the hold-out and of `shapes`.
    pub seed: u64,
    /// Training and test images of `shapes`.
    pub shapes: (usize, usize),
    /// Side to which the images of a folder are brought, the shorter one where they are not made square.
    pub stored_size: usize,
    /// STL-10: train on the unlabelled images too.
    pub unlabeled: bool,
    /// STL-10: only this fold of the labelled training images.
    pub fold: Option<usize>,
    /// How image files become pixels.
    pub reading: Reading,
    /// A list that divides the set anew; none where it is taken as it is.
    pub list: Option<&'a Path>,
    /// What is kept in memory, and how what is not is read.
    pub keeping: Keeping,
    /// Told of images decoded, and of all.
    pub progress: &'a (dyn Fn(usize, usize) + Sync),
}

impl Request<'_> {
    /// Height and width of the room that an image of a folder has.
    fn room(&self) -> (usize, usize) {
        self.reading.kept.room(self.stored_size)
    }
}

/// Opens `shapes` (the procedural set), a CSV list of images ([`list`]), tar shards or parquet files (`data::shards`),
/// or a folder: CIFAR-10 or CIFAR-100 binary, STL-10 binary, IDX (MNIST), a packed set ([`pack`]), or images
/// ([`folder`]). What the folder is, its file names tell.
///
/// # Errors
/// Nothing known there, truncated files, no image that decodes.
pub fn open(r: &Request<'_>) -> Result<Split> {
    able(r)?;
    let Some(mut split) = in_memory(r)? else {
        let listed = divided(listed::find(Path::new(r.path))?, r.list)?;
        return Ok(split::complete(listed.open(r)?, r.seed));
    };
    if r.reading.kept != Kept::Square {
        split.warnings.push(format!(
            "data.stored = \"{}\" changes nothing: the images of this set are of one size",
            r.reading.kept
        ));
    }
    match r.list {
        Some(list) => Ok(split::complete(subset::divide(&split, list)?, r.seed)),
        // Its parts are as large as they were asked for.
        None if r.path == "shapes" => Ok(split),
        None => Ok(split::complete(split, r.seed)),
    }
}

/// The images that `list` takes, all where there is none.
fn divided(set: listed::Listed, list: Option<&Path>) -> Result<listed::Listed> {
    match list {
        Some(list) => subset::divide_files(set, list),
        None => Ok(set),
    }
}

/// The set as it is, where it is one that is kept in memory as a whole.
fn in_memory(r: &Request<'_>) -> Result<Option<Split>> {
    if r.path == "shapes" {
        let (train, test) = r.shapes;
        let free = crate::graph::memory::free_memory();
        let fewer = "ask for fewer (data.shapes_train, data.shapes_test)";
        folder::fits(Path::new(r.path), train + test, shapes::SIZE, (free, fewer))?;
        return Ok(Some(shapes::generate(r.seed, r.shapes.0, r.shapes.1)));
    }
    let path = Path::new(r.path);
    there(path)?;
    match path.is_dir() {
        true => binary::open(r, path),
        false => Ok(None),
    }
}

/// Refuses a decoder that this program was built without.
fn able(r: &Request<'_>) -> Result<()> {
    match r.reading.decoder.missing() {
        None => Ok(()),
        Some(reason) => Err(DataError::Format {
            path: r.path.into(),
            reason: reason.into(),
        }),
    }
}

/// Refuses a path where nothing is.
fn there(path: &Path) -> Result<()> {
    if !shard_files::is_pattern(path) && !path.exists() && std::fs::symlink_metadata(path).is_err()
    {
        let known = sets::SETS.iter().find(|s| path.ends_with(s.folder));
        let advice = known.map_or(String::new(), |s| {
            format!(", or fetch it: amcl-wgpu data download {}", s.name)
        });
        return Err(DataError::Format {
            path: path.into(),
            reason: format!(
                "there is no such folder or file; say where the images are with --data{advice}"
            ),
        });
    }
    Ok(())
}
