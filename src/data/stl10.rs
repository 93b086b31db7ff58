//! STL-10, binary version (<https://cs.stanford.edu/~acoates/stl10/>): 96x96 images, channel by channel, each column by column; labels 1 to 10 in files of
//! their own.

use super::{DataError, Dataset, Split};
use std::path::Path;

const SIDE: usize = 96;
const PIXELS: usize = SIDE * SIDE;

/// Do these file names make an STL-10 folder?
pub fn is(names: &[String]) -> bool {
    names
        .iter()
        .any(|n| n == "train_X.bin" || n == "unlabeled_X.bin")
}

fn bytes(path: &Path) -> Result<Vec<u8>, DataError> {
    std::fs::read(path).map_err(|source| DataError::Io {
        path: path.into(),
        source,
    })
}

fn read(folder: &Path, part: &str, labelled: bool, into: &mut Dataset) -> Result<(), DataError> {
    let path = folder.join(format!("{part}_X.bin"));
    let data = bytes(&path)?;
    let fail = |path: &Path, reason: String| DataError::Format {
        path: path.into(),
        reason,
    };
    if data.is_empty() || data.len() % (3 * PIXELS) != 0 {
        return Err(fail(
            &path,
            format!(
                "{} bytes are no whole number of images of {} bytes: the file is truncated or of another kind",
                data.len(),
                3 * PIXELS
            ),
        ));
    }
    let count = data.len() / (3 * PIXELS);
    for image in data.chunks_exact(3 * PIXELS) {
        for (y, x) in (0..SIDE).flat_map(|y| (0..SIDE).map(move |x| (y, x))) {
            let at = x * SIDE + y;
            into.images
                .extend([image[at], image[PIXELS + at], image[2 * PIXELS + at]]);
        }
    }
    if labelled {
        let path = folder.join(format!("{part}_y.bin"));
        let labels = bytes(&path)?;
        if labels.len() != count || labels.iter().any(|l| !(1..=10).contains(l)) {
            return Err(fail(
                &path,
                format!("{} labels, expected {count} from 1 to 10", labels.len()),
            ));
        }
        into.labels.extend(labels.iter().map(|l| u32::from(*l) - 1));
    }
    Ok(())
}

/// Opens a folder whose file names are `names`: the labelled training images, or the unlabelled ones where those are all there is.
///
/// # Errors
/// Unreadable or truncated files, labels that do not fit the images.
pub fn open(folder: &Path, names: &[String]) -> Result<Split, DataError> {
    let has = |n: &str| names.iter().any(|m| m == n);
    let (mut train, mut test) = (Dataset::empty(SIDE, SIDE), Dataset::empty(SIDE, SIDE));
    let labelled = has("train_X.bin");
    read(
        folder,
        if labelled { "train" } else { "unlabeled" },
        labelled,
        &mut train,
    )?;
    if labelled && has("test_X.bin") {
        read(folder, "test", true, &mut test)?;
    }
    let names = std::fs::read_to_string(folder.join("class_names.txt")).unwrap_or_default();
    let mut classes: Vec<String> = names.lines().map(|l| l.trim().to_string()).collect();
    classes.retain(|c| !c.is_empty());
    if classes.len() != 10 {
        classes = (0..10).map(|c| format!("class {c}")).collect();
    }
    if !labelled {
        classes.clear();
    }
    Ok(Split {
        description: format!(
            "STL-10 binary, {} {} and {} test images of 96x96{}",
            train.len(),
            if labelled {
                "labelled training"
            } else {
                "unlabelled"
            },
            test.len(),
            if test.is_empty() {
                ""
            } else {
                ", the files' own split"
            }
        ),
        warnings: Vec::new(),
        train,
        test,
        classes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_become_rows() {
        let dir = tempfile::tempdir().unwrap();
        // Red is the column's number, green the row's.
        let mut image = Vec::new();
        image.extend((0..PIXELS).map(|i| (i / SIDE) as u8));
        image.extend((0..PIXELS).map(|i| (i % SIDE) as u8));
        image.extend([9; PIXELS]);
        std::fs::write(dir.path().join("train_X.bin"), image.repeat(2)).unwrap();
        std::fs::write(dir.path().join("train_y.bin"), [1, 10]).unwrap();
        let names = ["train_X.bin".to_string(), "train_y.bin".to_string()];
        let s = open(dir.path(), &names).unwrap();
        assert_eq!((s.train.len(), &s.train.labels[..]), (2, &[0, 9][..]));
        let at = (5 * SIDE + 7) * 3;
        assert_eq!(&s.train.image(1)[at..at + 3], [7, 5, 9]);
        std::fs::write(dir.path().join("train_y.bin"), [1]).unwrap();
        let e = open(dir.path(), &names).unwrap_err().to_string();
        assert!(e.contains("expected 2"), "{e}");
        std::fs::write(dir.path().join("train_X.bin"), &image[..100]).unwrap();
        let e = open(dir.path(), &names).unwrap_err().to_string();
        assert!(e.contains("truncated"), "{e}");
    }
}
