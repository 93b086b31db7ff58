//! CIFAR-10 and CIFAR-100, binary version (<https://www.cs.toronto.edu/~kriz/cifar.html>): records of one (CIFAR-100:
//! two) label bytes and 3072 bytes, channel by channel.

use super::gzip::{bytes, find};
use super::{DataError, Dataset, Split};
use std::path::Path;

const PIXELS: usize = 32 * 32;

/// Reads one file of records with `label_bytes` labels, of which the last is the class.
fn read(
    path: &Path,
    label_bytes: usize,
    classes: u32,
    into: &mut Dataset,
) -> Result<usize, DataError> {
    let data = bytes(path)?;
    let record = label_bytes + 3 * PIXELS;
    let fail = |reason: String| DataError::Format {
        path: path.into(),
        reason,
    };
    if data.is_empty() || data.len() % record != 0 {
        return Err(fail(format!(
            "{} bytes are no whole number of records of {record} bytes: the file is truncated or of another kind",
            data.len()
        )));
    }
    for (i, r) in data.chunks_exact(record).enumerate() {
        let label = u32::from(r[label_bytes - 1]);
        if label >= classes {
            return Err(fail(format!(
                "record {i} has label {label}, of {classes} classes"
            )));
        }
        into.labels.push(label);
        let px = &r[label_bytes..];
        into.images
            .extend((0..PIXELS).flat_map(|p| [px[p], px[PIXELS + p], px[2 * PIXELS + p]]));
    }
    Ok(data.len() / record)
}

/// Do these file names (packed or not) make a CIFAR folder?
pub fn is(names: &[String]) -> bool {
    let bare = || names.iter().map(|n| n.strip_suffix(".gz").unwrap_or(n));
    bare().any(|n| n.starts_with("data_batch_") && n.ends_with(".bin"))
        || bare().any(|n| n == "test_batch.bin")
        || ["train.bin", "test.bin"]
            .iter()
            .all(|f| bare().any(|n| n == *f))
}

/// Is it a folder of the Python version, which is not read?
pub(super) fn is_python(folder: &Path, names: &[String]) -> bool {
    let has = |n: &str| names.iter().any(|m| m == n) && folder.join(n).is_file();
    (has("data_batch_1") && has("batches.meta")) || (has("train") && has("test") && has("meta"))
}

/// Opens a folder whose file names are `names`; batches that are absent are named and left out.
///
/// # Errors
/// Unreadable or truncated files, labels out of range, no training batch.
pub fn open(path: &Path, names: &[String]) -> Result<Split, DataError> {
    let (mut train, mut test) = (Dataset::empty(32, 32), Dataset::empty(32, 32));
    let find = |n: &str| find(path, names, n);
    let ten = find("train.bin").is_none();
    let (bytes, count) = if ten { (1, 10) } else { (2, 100) };
    let batches: Vec<String> = if ten {
        (1..=5).map(|i| format!("data_batch_{i}.bin")).collect()
    } else {
        vec!["train.bin".into()]
    };
    let (found, absent): (Vec<_>, Vec<_>) = batches.into_iter().partition(|b| find(b).is_some());
    if found.is_empty() {
        return Err(DataError::Format {
            path: path.into(),
            reason: "a test batch but no training batch".into(),
        });
    }
    for file in found.iter().filter_map(|b| find(b)) {
        read(&file, bytes, count, &mut train)?;
    }
    let test_file = find(if ten { "test_batch.bin" } else { "test.bin" });
    if let Some(file) = &test_file {
        read(file, bytes, count, &mut test)?;
    }
    let meta = std::fs::read_to_string(path.join(if ten {
        "batches.meta.txt"
    } else {
        "fine_label_names.txt"
    }));
    let mut classes: Vec<String> = meta
        .unwrap_or_default()
        .lines()
        .filter(|l| !l.trim().is_empty())
        .map(|l| l.trim().to_string())
        .collect();
    if classes.len() != count as usize {
        classes = (0..count).map(|c| format!("class {c}")).collect();
    }
    let missing = if absent.is_empty() {
        String::new()
    } else {
        format!("; not there: {}", absent.join(", "))
    };
    Ok(Split {
        description: format!(
            "CIFAR-{count} binary, {} training and {} test images of 32x32{}{missing}",
            train.len(),
            test.len(),
            if test_file.is_some() {
                ", the files' own split"
            } else {
                ""
            }
        ),
        warnings: Vec::new(),
        train,
        labelled: None,
        test,
        classes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cifar_100_has_fine_labels() {
        let dir = tempfile::tempdir().unwrap();
        let mut record = vec![3u8, 99];
        record.extend([7; 3 * PIXELS]);
        std::fs::write(dir.path().join("train.bin"), record.repeat(4)).unwrap();
        std::fs::write(dir.path().join("test.bin"), &record).unwrap();
        let names = ["train.bin".to_string(), "test.bin".to_string()];
        assert!(is(&names) && !is(&names[..1]));
        let split = open(dir.path(), &names).unwrap();
        assert_eq!(
            (
                split.train.len(),
                split.train.labels[0],
                split.classes.len()
            ),
            (4, 99, 100)
        );
        assert_eq!(split.test.len(), 1);
        // Packed, in two members.
        let mut packed = Vec::new();
        for member in [&record[..100], &record[100..]] {
            let mut z = flate2::write::GzEncoder::new(packed, flate2::Compression::fast());
            std::io::Write::write_all(&mut z, member).unwrap();
            packed = z.finish().unwrap();
        }
        std::fs::write(dir.path().join("train.bin.gz"), packed).unwrap();
        let names = ["train.bin.gz".to_string(), "test.bin".to_string()];
        assert!(is(&names));
        let again = open(dir.path(), &names).unwrap();
        assert_eq!(again.train.images, split.test.images);
    }

    #[test]
    fn reads_what_is_there_and_names_what_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let mut record = vec![7u8];
        record.extend((0..3 * PIXELS).map(|i| (i / PIXELS * 50) as u8));
        std::fs::write(dir.path().join("data_batch_2.bin"), record.repeat(3)).unwrap();
        std::fs::write(dir.path().join("test_batch.bin"), &record).unwrap();
        let names = ["data_batch_2.bin".to_string(), "test_batch.bin".to_string()];
        let split = open(dir.path(), &names).unwrap();
        assert_eq!(
            (split.train.len(), split.test.len(), split.train.labels[2]),
            (3, 1, 7)
        );
        assert_eq!(
            &split.train.image(1).unwrap()[..6],
            [0, 50, 100, 0, 50, 100]
        );
        assert!(split.description.contains("not there: data_batch_1.bin"));
        let alone = open(dir.path(), &names[..1]).unwrap();
        assert_eq!((alone.train.len(), alone.test.len()), (3, 0));
        std::fs::write(dir.path().join("test_batch.bin"), &record[..3000]).unwrap();
        assert!(
            open(dir.path(), &names)
                .unwrap_err()
                .to_string()
                .contains("truncated")
        );
        record[0] = 10;
        std::fs::write(dir.path().join("test_batch.bin"), &record).unwrap();
        assert!(
            open(dir.path(), &names)
                .unwrap_err()
                .to_string()
                .contains("label 10")
        );
    }
}
