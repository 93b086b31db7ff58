//! What a data set is, without decoding it: its kind, how many images there are to train on, and how large they are.

use super::layout;
use super::parts::Parts;
use super::shard_files;
use super::shards;
use super::source::files::Folder;
use super::source::{Place, Source, pack};
use super::tree::Tree;
use super::{DataError, binary, cifar, idx, list, stl10};
use image::ImageReader;
use std::io::Cursor;
use std::path::Path;

/// Files whose headers are read. The median of so many lies within a tenth of the ranks of the set's own median
/// (two deviations of a share: 2 sqrt(0.25 / 64) = 0.125), which is enough to choose among sizes far apart.
const SAMPLE: usize = 64;
/// Blocks that these are of, where an image is read together with its block.
const BLOCKS: usize = 4;

/// Kinds of data sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// CIFAR-10's binary files.
    Cifar10,
    /// CIFAR-100's binary files.
    Cifar100,
    /// STL-10's binary files.
    Stl10,
    /// IDX files (MNIST), of 28 px.
    Idx,
    /// Image files, in folders or a list.
    Files {
        /// Median of the shorter sides, pixels.
        side: u32,
        /// Files that it was taken of.
        sampled: usize,
    },
}

/// What [`survey`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Survey {
    /// What the data are.
    pub kind: Kind,
    /// Files to train on; 0 for binary sets, whose number their kind tells.
    pub images: usize,
    /// They have labels. Binary sets have.
    pub labelled: bool,
}

/// Looks at the data set at `path`. None for `shapes`, for what cannot be opened as a data set, and where no file of
/// the sample has an image's header: [`super::open`] says what is wrong with those.
///
/// # Errors
/// A folder that cannot be read or may be several things; a list that is refused.
pub fn survey(path: &str) -> Result<Option<Survey>, DataError> {
    let at = Path::new(path);
    if path == "shapes" || !(at.exists() || shard_files::is_pattern(at)) {
        return Ok(None);
    }
    if pack::is(at) {
        return packed(at);
    }
    let folder = at.is_dir();
    if let Some((_, names)) = folder.then(|| binary::find(at)).transpose()?.flatten() {
        let kind = if cifar::is(&names) {
            match names.iter().any(|n| n.starts_with("train.bin")) {
                true => Kind::Cifar100,
                false => Kind::Cifar10,
            }
        } else if stl10::is(&names) {
            Kind::Stl10
        } else if idx::is(&names) {
            Kind::Idx
        } else {
            return Ok(None);
        };
        return Ok(Some(Survey {
            kind,
            images: 0,
            labelled: true,
        }));
    }
    if let Some(found) = shards::look(at)? {
        return Ok(files(found.place, &found.parts));
    }
    let in_folder = |parts: &Parts| files(Box::new(Folder(at.into())), parts);
    if !folder {
        return Ok(in_folder(&list::parts(at)?.0));
    }
    // Warnings are those of opening the set, which says them.
    let mut warnings = Vec::new();
    let tree = Tree::read(at, &mut warnings)?;
    if tree.images == 0 {
        return Ok(None);
    }
    Ok(in_folder(&layout::find(&tree, &mut warnings)?.parts))
}

/// The survey of a packed set: the sides are those of the files that it was made of.
fn packed(folder: &Path) -> Result<Option<Survey>, DataError> {
    let listed = pack::list(folder)?;
    let source = listed.place.source(Vec::new());
    let train = &listed.parts.train;
    let sides = (0..train.len() as u32).filter_map(|i| source.side(i));
    let mut sides: Vec<u32> = sides.map(|(w, h)| w.min(h)).collect();
    Ok(median(&mut sides).map(|side| Survey {
        kind: Kind::Files {
            side,
            sampled: sides.len(),
        },
        images: train.len(),
        labelled: train.iter().any(|(_, class)| class.is_some()),
    }))
}

fn median(sides: &mut [u32]) -> Option<u32> {
    sides.sort_unstable();
    sides.get(sides.len() / 2).copied()
}

/// The survey of image files with their classes.
fn files(place: Box<dyn Place>, parts: &Parts) -> Option<Survey> {
    let train = &parts.train;
    let source = place.source(train.iter().map(|(p, _)| p.clone()).collect());
    let mut sides: Vec<u32> = sample(source.as_ref(), train.len())
        .into_iter()
        .filter_map(|i| shorter_side(source.as_ref(), i, &train[i as usize].0))
        .collect();
    Some(Survey {
        kind: Kind::Files {
            side: median(&mut sides)?,
            sampled: sides.len(),
        },
        images: train.len(),
        labelled: train.iter().any(|(_, class)| class.is_some()),
    })
}

/// Images at equal distances; where they lie in blocks, the first ones of blocks at equal distances.
fn sample(source: &dyn Source, images: usize) -> Vec<u32> {
    let all: Vec<u32> = (0..images as u32).collect();
    let blocks: Vec<&[u32]> = match source.random_access() {
        true => all.chunks(1).collect(),
        false => all
            .chunk_by(|a, b| source.block(*a) == source.block(*b))
            .collect(),
    };
    let most = match source.random_access() {
        true => SAMPLE,
        false => BLOCKS,
    };
    let count = blocks.len().min(most);
    let spaced = (0..count).map(|i| blocks[i * blocks.len() / count]);
    let some = spaced.flat_map(|block| block.iter().take(SAMPLE / most));
    some.copied().collect()
}

/// Shorter side that an image's header tells; none where it tells none.
fn shorter_side(source: &dyn Source, image: u32, path: &Path) -> Option<u32> {
    let mut bytes = Vec::new();
    source.read(image, &mut bytes).ok()?;
    let format = image::guess_format(&bytes).or_else(|_| image::ImageFormat::from_path(path));
    let reader = ImageReader::with_format(Cursor::new(&bytes), format.ok()?);
    let (w, h) = reader.into_dimensions().ok()?;
    Some(w.min(h)).filter(|s| *s > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn save(path: &Path, w: u32, h: u32) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        image::RgbImage::new(w, h).save(path).unwrap();
    }

    #[test]
    fn the_median_is_of_the_shorter_sides_of_training_images_alone() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for (i, (w, h)) in [(100, 50), (60, 90), (70, 300)].into_iter().enumerate() {
            save(&at(&format!("train/a/{i}.png")), w, h);
            // The control: a test part of other sides, which must not move the median.
            save(&at(&format!("test/a/{i}.png")), 9, 9);
        }
        std::fs::write(at("train/a/x.jpg"), "no image").unwrap();
        let found = survey(dir.path().to_str().unwrap()).unwrap().unwrap();
        let kind = Kind::Files {
            side: 60,
            sampled: 3,
        };
        assert_eq!((found.kind, found.labelled), (kind, true));
        assert_eq!(found.images, 4, "the file that is no image is among them");
        // The same files as a list, without labels.
        std::fs::write(at("own.csv"), "path\ntrain/a/0.png\ntrain/a/2.png\n").unwrap();
        let found = survey(at("own.csv").to_str().unwrap()).unwrap().unwrap();
        assert_eq!((found.images, found.labelled), (2, false));
    }

    #[test]
    fn binary_sets_are_known_by_their_files_and_nothing_is_made_of_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let here = |d: &tempfile::TempDir| survey(d.path().to_str().unwrap()).unwrap();
        assert_eq!(here(&dir), None, "an empty folder");
        std::fs::write(dir.path().join("a.png"), "no image").unwrap();
        assert_eq!(here(&dir), None, "no header of an image");
        assert_eq!(survey("shapes").unwrap(), None);
        assert_eq!(survey("/no/such/folder").unwrap(), None);
        for (files, kind) in [
            (&["data_batch_1.bin"][..], Kind::Cifar10),
            (&["train.bin.gz", "test.bin.gz"], Kind::Cifar100),
        ] {
            let dir = tempfile::tempdir().unwrap();
            for file in files {
                std::fs::write(dir.path().join(file), [0; 4]).unwrap();
            }
            assert_eq!(here(&dir).map(|s| s.kind), Some(kind), "{files:?}");
        }
    }
}
