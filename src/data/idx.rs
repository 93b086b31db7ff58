//! IDX files of MNIST and its kin (<http://yann.lecun.com/exdb/mnist/>): unsigned bytes, big-endian sizes, packed
//! (.gz) or not. One channel becomes three.

use super::gzip::{bytes, find};
use super::{DataError, Dataset, Split};
use std::path::Path;

/// Training and test files, in both spellings that are about.
const TRAIN: [&str; 4] = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "train-images.idx3-ubyte",
    "train-labels.idx1-ubyte",
];
const TEST: [&str; 4] = [
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
    "t10k-images.idx3-ubyte",
    "t10k-labels.idx1-ubyte",
];

/// Do these file names make an MNIST folder (packed or not)?
pub fn is(names: &[String]) -> bool {
    names
        .iter()
        .any(|n| n.starts_with("train-images") && n.contains("idx3-ubyte"))
}

fn fail(path: &Path, reason: String) -> DataError {
    DataError::Format {
        path: path.into(),
        reason,
    }
}

/// Sizes and bytes of a file with `rank` dimensions.
fn read(path: &Path, rank: usize) -> Result<(Vec<usize>, Vec<u8>), DataError> {
    let data = bytes(path)?;
    let head = 4 + 4 * rank;
    if data.len() < head || data[..4] != [0, 0, 8, rank as u8] {
        return Err(fail(
            path,
            format!("no IDX file of unsigned bytes with {rank} dimensions"),
        ));
    }
    let sizes: Vec<usize> = data[4..head]
        .chunks_exact(4)
        .map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]) as usize)
        .collect();
    let expected = sizes.iter().try_fold(1usize, |n, s| n.checked_mul(*s));
    if expected != Some(data.len() - head) {
        return Err(fail(
            path,
            format!(
                "sizes {sizes:?} do not fit {} bytes: the file is truncated or damaged",
                data.len() - head
            ),
        ));
    }
    Ok((sizes, data[head..].to_vec()))
}

fn part(folder: &Path, names: &[String], files: [&str; 4]) -> Result<Option<Dataset>, DataError> {
    let find = |n: &str| find(folder, names, n);
    let Some((pair, images)) = files.chunks(2).find_map(|p| Some((p, find(p[0])?))) else {
        return Ok(None);
    };
    let (sizes, pixels) = read(&images, 3)?;
    // No image of such sizes would bound them by the file's length.
    if sizes.contains(&0) {
        return Err(fail(
            &images,
            format!("sizes {sizes:?}: there is nothing in it"),
        ));
    }
    let path = find(pair[1]).unwrap_or_else(|| folder.join(pair[1]));
    let (_, labels) = read(&path, 1)?;
    if labels.len() != sizes[0] {
        return Err(fail(
            &path,
            format!("{} labels for {} images", labels.len(), sizes[0]),
        ));
    }
    Ok(Some(Dataset {
        images: pixels.iter().flat_map(|p| [*p; 3]).collect(),
        labels: labels.iter().map(|l| u32::from(*l)).collect(),
        ..Dataset::empty(sizes[1], sizes[2])
    }))
}

/// Opens a folder whose file names are `names`.
///
/// # Errors
/// Unreadable, truncated files; labels that do not fit the images.
pub fn open(folder: &Path, names: &[String]) -> Result<Split, DataError> {
    let Some(train) = part(folder, names, TRAIN)? else {
        return Err(fail(
            folder,
            format!(
                "no file of training images; expected {} (or that with .gz)",
                TRAIN[0]
            ),
        ));
    };
    let test = part(folder, names, TEST)?.unwrap_or(Dataset::empty(train.height, train.width));
    let count = train
        .labels
        .iter()
        .chain(&test.labels)
        .max()
        .map_or(0, |m| m + 1);
    Ok(Split {
        description: format!(
            "IDX, {} training and {} test images of {}x{}, one channel shown as three{}",
            train.len(),
            test.len(),
            train.height,
            train.width,
            if test.is_empty() {
                ""
            } else {
                ", the files' own split"
            }
        ),
        warnings: Vec::new(),
        train,
        labelled: None,
        test,
        classes: (0..count).map(|c| c.to_string()).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grey_becomes_rgb_and_damage_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let images = [
            &[0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2][..],
            &[1, 2, 3, 4],
        ]
        .concat();
        std::fs::write(dir.path().join(TRAIN[0]), &images).unwrap();
        std::fs::write(dir.path().join(TRAIN[1]), [0, 0, 8, 1, 0, 0, 0, 2, 5, 9]).unwrap();
        let names: Vec<String> = TRAIN[..2].iter().map(ToString::to_string).collect();
        let s = open(dir.path(), &names).unwrap();
        assert_eq!(s.train.images, [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]);
        assert_eq!((s.train.len(), s.classes.len()), (2, 10));
        std::fs::write(dir.path().join(TRAIN[0]), &images[..18]).unwrap();
        let e = open(dir.path(), &names).unwrap_err().to_string();
        assert!(e.contains("truncated"), "{e}");
        // Found by fuzzing: no images, of sizes whose product overflows.
        std::fs::write(
            dir.path().join(TRAIN[0]),
            [0, 0, 8, 3, 0, 0, 0, 0, 0xdd, 0, 0, 0xca, 0x9f, 2, 3, 4],
        )
        .unwrap();
        std::fs::write(dir.path().join(TRAIN[1]), [0, 0, 8, 1, 0, 0, 0, 0]).unwrap();
        let e = open(dir.path(), &names).unwrap_err().to_string();
        assert!(e.contains("nothing in it"), "{e}");
        let other = ["train-images.tar-idx3-ubyte".to_string()];
        let e = open(dir.path(), &other).unwrap_err().to_string();
        assert!(e.contains("expected train-images-idx3-ubyte"), "{e}");
    }

    #[test]
    fn packed_files_are_the_same_and_their_damage_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let pack = |name: &str, data: &[u8]| {
            let mut z = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            std::io::Write::write_all(&mut z, data).unwrap();
            let packed = z.finish().unwrap();
            std::fs::write(dir.path().join(name), &packed).unwrap();
            packed
        };
        let names = [TRAIN[0], TRAIN[1]].map(|n| format!("{n}.gz"));
        let head = [0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2];
        let packed = pack(&names[0], &[&head[..], &[7, 8]].concat());
        pack(&names[1], &[0, 0, 8, 1, 0, 0, 0, 1, 3]);
        assert!(is(&names));
        let s = open(dir.path(), &names).unwrap();
        assert_eq!(
            (&s.train.images[..], s.train.labels[0]),
            (&[7, 7, 7, 8, 8, 8][..], 3)
        );
        // Several members are one file; zeros behind them are padding, and nothing else is.
        let head = pack(&names[0], &head);
        let rest = pack(&names[0], &[7, 8]);
        let write = |parts: &[&[u8]]| std::fs::write(dir.path().join(&names[0]), parts.concat());
        for padding in [&[][..], &[0; 512]] {
            write(&[&head, &rest, padding]).unwrap();
            let again = open(dir.path(), &names).unwrap();
            assert_eq!(again.train.images, s.train.images);
        }
        write(&[&packed, b"rest"]).unwrap();
        let e = open(dir.path(), &names).unwrap_err().to_string();
        let place = format!(
            "4 bytes behind the packed data, from byte {} on",
            packed.len()
        );
        assert!(e.contains(&place), "{e}");
        let cut = &rest[..rest.len() - 3];
        for bad in [
            &packed[..packed.len() / 2],
            b"no gzip",
            b"",
            &[&head, cut].concat(),
        ] {
            std::fs::write(dir.path().join(&names[0]), bad).unwrap();
            let e = open(dir.path(), &names).unwrap_err().to_string();
            assert!(e.contains(&names[0]), "{e}");
        }
    }
}
