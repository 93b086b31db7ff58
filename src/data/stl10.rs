//! STL-10, binary version (<https://cs.stanford.edu/~acoates/stl10/>): 96x96 images, channel by channel, each column
//! by column; labels 1 to 10 in files of their own.

use super::{DataError, Dataset, Request, Split};
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

/// The images of one fold, as `fold_indices.txt` lists them: a line a fold, numbers from 0.
fn fold(folder: &Path, number: usize, all: &Dataset) -> Result<Dataset, DataError> {
    let path = folder.join("fold_indices.txt");
    let text = std::fs::read_to_string(&path).map_err(|source| DataError::Io {
        path: path.clone(),
        source,
    })?;
    let fail = |reason: String| DataError::Format {
        path: path.clone(),
        reason,
    };
    let line = text.lines().nth(number).ok_or_else(|| {
        fail(format!(
            "no fold {number}; there are {}",
            text.lines().count()
        ))
    })?;
    let ids: Vec<usize> = line
        .split_whitespace()
        .map(|w| w.parse().ok().filter(|i| *i < all.len()))
        .collect::<Option<_>>()
        .ok_or_else(|| {
            fail(format!(
                "fold {number} holds what is no number under {}",
                all.len()
            ))
        })?;
    Ok(all.select(&ids))
}

/// Opens a folder whose file names are `names`: the labelled training images (or one fold of them), with the
/// unlabelled ones too if the request says so; or the unlabelled ones where those are all there is.
///
/// # Errors
/// Unreadable or truncated files, labels that do not fit the images.
pub fn open(r: &Request<'_>, folder: &Path, names: &[String]) -> Result<Split, DataError> {
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
    let mut kind = if labelled {
        "labelled training".to_string()
    } else {
        "unlabelled".to_string()
    };
    if let (Some(n), true) = (r.fold, labelled) {
        train = fold(folder, n, &train)?;
        kind = format!("labelled training (fold {n})");
    }
    let mut idle = String::new();
    let unlabelled = folder.join("unlabeled_X.bin");
    if let (false, true, Ok(m)) = (r.unlabeled, labelled, std::fs::metadata(&unlabelled)) {
        let count = m.len() / (3 * PIXELS as u64);
        idle = format!("; {count} unlabelled ones are there too (data.unlabeled = true uses them)");
    }
    let mut bank = None;
    if r.unlabeled && labelled {
        let few = train.clone();
        train.labels.clear();
        read(folder, "unlabeled", false, &mut train)?;
        kind = format!(
            "training images ({} {kind}, which alone serve evaluation, and {} unlabelled)",
            few.len(),
            train.len() - few.len()
        );
        bank = Some(few);
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
            "STL-10 binary, {} {} and {} test images of 96x96{}{idle}",
            train.len(),
            kind,
            test.len(),
            if test.is_empty() {
                ""
            } else {
                ", the files' own split"
            }
        ),
        warnings: Vec::new(),
        train,
        labelled: bank,
        test,
        classes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Keeping, Reading};

    fn request() -> Request<'static> {
        Request {
            path: "",
            seed: 0,
            shapes: (0, 0),
            stored_size: SIDE,
            unlabeled: false,
            fold: None,
            reading: Reading::default(),
            list: None,
            keeping: Keeping::default(),
            progress: &|_, _| (),
        }
    }

    #[test]
    fn folds_and_unlabelled_images() {
        let dir = tempfile::tempdir().unwrap();
        let image = |v: u8| vec![v; 3 * PIXELS];
        std::fs::write(
            dir.path().join("train_X.bin"),
            [image(1), image(2), image(3)].concat(),
        )
        .unwrap();
        std::fs::write(dir.path().join("train_y.bin"), [1, 2, 3]).unwrap();
        std::fs::write(dir.path().join("unlabeled_X.bin"), image(9).repeat(2)).unwrap();
        std::fs::write(dir.path().join("fold_indices.txt"), "0 1\n2 0\n7\n").unwrap();
        let names = ["train_X.bin".to_string(), "train_y.bin".to_string()];
        let open = |unlabeled, fold| {
            let r = Request {
                unlabeled,
                fold,
                ..request()
            };
            super::open(&r, dir.path(), &names)
        };
        let s = open(true, Some(1)).unwrap();
        let first = |d: &Dataset| {
            (0..d.len())
                .map(|i| d.image(i).unwrap()[0])
                .collect::<Vec<u8>>()
        };
        assert_eq!(first(&s.train), [3, 1, 9, 9]);
        assert!(s.train.labels.is_empty());
        assert_eq!(
            (first(s.bank()), &s.bank().labels[..]),
            (vec![3, 1], &[2, 0][..])
        );
        for (fold, word) in [(2, "no number under 3"), (3, "there are 3")] {
            let e = open(false, Some(fold)).unwrap_err().to_string();
            assert!(e.contains(word), "{e}");
        }
    }

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
        let s = open(&request(), dir.path(), &names).unwrap();
        assert_eq!((s.train.len(), &s.train.labels[..]), (2, &[0, 9][..]));
        let at = (5 * SIDE + 7) * 3;
        assert_eq!(&s.train.image(1).unwrap()[at..at + 3], [7, 5, 9]);
        std::fs::write(dir.path().join("train_y.bin"), [1]).unwrap();
        let e = open(&request(), dir.path(), &names)
            .unwrap_err()
            .to_string();
        assert!(e.contains("expected 2"), "{e}");
        std::fs::write(dir.path().join("train_X.bin"), &image[..100]).unwrap();
        let e = open(&request(), dir.path(), &names)
            .unwrap_err()
            .to_string();
        assert!(e.contains("truncated"), "{e}");
    }
}
