//! CSV lists of images: columns `path` (relative to the list's folder, or absolute), and, where there are labels,
//! `label` (any text) and `split` (`train`, or `test`, `val`, `valid`). The first line names the columns; without it,
//! they are path, label, split.

use super::{DataError, Request, Split, folder};
use crate::graph::plan::free_memory;
use std::collections::BTreeSet;
use std::path::Path;

/// What may stand in the column `split`, in small letters.
const TRAIN: [&str; 3] = ["", "train", "training"];
const TEST: [&str; 4] = ["test", "val", "valid", "validation"];

/// Opens a list.
///
/// # Errors
/// No CSV, no images, a label here and none there, no image that decodes.
pub fn open(r: &Request<'_>, path: &Path) -> Result<Split, DataError> {
    let fail = |reason: String| DataError::Format {
        path: path.into(),
        reason,
    };
    if path
        .extension()
        .is_none_or(|e| !e.eq_ignore_ascii_case("csv"))
    {
        return Err(fail(
            "a file, but no CSV list (.csv) of images; expected that, or a folder".into(),
        ));
    }
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .trim(csv::Trim::All)
        .from_path(path)
        .map_err(|e| fail(e.to_string()))?;
    let mut columns = [Some(0), Some(1), Some(2)];
    let mut rows: Vec<[String; 3]> = Vec::new();
    for (line, record) in reader.records().enumerate() {
        let record = record.map_err(|e| fail(e.to_string()))?;
        let named = |n: &str| record.iter().position(|c| c.eq_ignore_ascii_case(n));
        if line == 0 && named("path").is_some() {
            columns = ["path", "label", "split"].map(named);
            continue;
        }
        let row = columns.map(|c| c.and_then(|c| record.get(c)).unwrap_or("").to_string());
        if row[0].is_empty() {
            return Err(fail(format!("line {} names no file", line + 1)));
        }
        let split = row[2].to_lowercase();
        if !TRAIN.contains(&&*split) && !TEST.contains(&&*split) {
            return Err(fail(format!(
                "line {}: split is `{}`; expected train or test (or val, valid, validation)",
                line + 1,
                row[2]
            )));
        }
        rows.push(row);
    }
    let names: BTreeSet<&str> = rows.iter().map(|r| r[1].as_str()).collect();
    if names.len() > 1 && names.contains("") {
        return Err(fail("some lines have a label and some have none".into()));
    }
    let classes: Vec<String> = names
        .iter()
        .filter(|c| !c.is_empty())
        .map(ToString::to_string)
        .collect();
    let root = path.parent().unwrap_or(Path::new(""));
    let part = |test: bool| -> Vec<folder::Entry> {
        rows.iter()
            .filter(|r| TEST.contains(&&*r[2].to_lowercase()) == test)
            .map(|r| {
                let label = classes.binary_search(&r[1]).ok().map(|i| i as u32);
                (root.join(&r[0]), label)
            })
            .collect()
    };
    folder::fits(path, rows.len(), r.stored_size, free_memory())?;
    let mut warnings = Vec::new();
    let (train, sides) = folder::load(r, root, &part(false), &mut warnings);
    if train.is_empty() {
        return Err(fail(format!(
            "no training image could be read; {}",
            warnings.first().map_or("the list is empty", String::as_str)
        )));
    }
    let (test, _) = folder::load(r, root, &part(true), &mut warnings);
    Ok(Split {
        description: format!(
            "CSV list, {} training and {} test images of {} classes{sides} brought to {3}x{3}",
            train.len(),
            test.len(),
            classes.len(),
            r.stored_size
        ),
        warnings,
        train,
        labelled: None,
        test,
        classes,
    })
}
