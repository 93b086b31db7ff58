//! Parquet files as a data set, as Hugging Face's `datasets` writes them: a column of images (`image{bytes,path}`, or
//! bytes alone) and one of labels, whose names stand in the file's metadata.
//!
//! Labels are read when the set is opened. They are numbers or texts; a negative number is no label.

use super::Result;
use super::shard_files::{self, Files};
use super::shards::{self, Found, Label, Labelled, fail};
use super::source::parquet::{Broken, Table, Tables, Values, column, member, metadata};
use parquet::basic::{ConvertedType, LogicalType, Type as Physical};
use parquet::file::metadata::ParquetMetaData;
use parquet::schema::types::ColumnDescriptor;
use rayon::prelude::*;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

/// Names of the column of images, in the order of preference.
const IMAGES: [&str; 11] = [
    "image",
    "img",
    "images",
    "jpg",
    "jpeg",
    "png",
    "webp",
    "picture",
    "photo",
    "image_bytes",
    "bytes",
];
/// Names of the column of labels likewise.
const LABELS: [&str; 9] = [
    "label",
    "labels",
    "fine_label",
    "class",
    "cls",
    "target",
    "category",
    "class_label",
    "y",
];

/// Which columns of a file are what.
#[derive(Debug, PartialEq, Eq)]
struct Columns {
    /// Leaf of the images' bytes, and the column's name.
    image: (usize, String),
    /// Leaf of the labels, and the column's name.
    label: Option<(usize, String)>,
    /// Names of the classes.
    classes: Vec<String>,
    /// Columns that could have been either.
    others: Vec<String>,
}

/// Features that `datasets` describes in a file's metadata.
fn features(meta: &ParquetMetaData) -> Value {
    let all = meta.file_metadata().key_value_metadata();
    let own = all.into_iter().flatten().find(|kv| kv.key == "huggingface");
    let text = own.and_then(|kv| kv.value.as_deref()).unwrap_or_default();
    let value: Value = serde_json::from_str(text).unwrap_or_default();
    value["info"]["features"].clone()
}

fn is_text(c: &ColumnDescriptor) -> bool {
    matches!(
        c.logical_type_ref(),
        Some(LogicalType::String | LogicalType::Json)
    ) || matches!(
        c.converted_type(),
        ConvertedType::UTF8 | ConvertedType::JSON
    )
}

/// The name among `found` that comes first in `names`; without one, the first.
fn preferred<'a>(found: &'a [(usize, String)], names: &[&str]) -> Option<&'a (usize, String)> {
    let rank = |name: &str| names.iter().position(|n| n.eq_ignore_ascii_case(name));
    found
        .iter()
        .min_by_key(|(_, name)| rank(name).unwrap_or(usize::MAX))
}

/// Finds the columns.
///
/// # Errors
/// No column of images, in words.
fn columns(meta: &ParquetMetaData) -> std::result::Result<Columns, String> {
    let schema = meta.file_metadata().schema_descr();
    let features = features(meta);
    let known = |name: &str, kind: &str| features[name]["_type"] == kind;
    let (mut images, mut labels) = (Vec::new(), Vec::new());
    for (leaf, c) in schema.columns().iter().enumerate() {
        let parts = c.path().parts();
        let name = parts[0].clone();
        if c.max_rep_level() > 0 {
            continue;
        }
        let named = |names: &[&str]| names.iter().any(|n| n.eq_ignore_ascii_case(&name));
        let bytes = c.physical_type() == Physical::BYTE_ARRAY;
        match parts.len() {
            1 if bytes && !is_text(c) => {
                // Bytes of an unknown name are images where nothing else is.
                images.push((leaf, name.clone()));
            }
            1 if named(&LABELS) || known(&name, "ClassLabel") => {
                let number = matches!(
                    c.physical_type(),
                    Physical::INT32 | Physical::INT64 | Physical::BOOLEAN
                );
                if number || bytes {
                    labels.push((leaf, name.clone()));
                }
            }
            2 if bytes && parts[1] == "bytes" => images.push((leaf, name.clone())),
            _ => (),
        }
    }
    if images.iter().any(|(_, n)| known(n, "Image")) {
        images.retain(|(_, n)| known(n, "Image"));
    }
    let there = || -> Vec<&str> {
        schema
            .root_schema()
            .get_fields()
            .iter()
            .map(|f| f.name())
            .collect()
    };
    let Some(image) = preferred(&images, &IMAGES).cloned() else {
        return Err(format!(
            "no column of images, image{{bytes,path}} or bytes; there are {}",
            there().join(", ")
        ));
    };
    let label = preferred(&labels, &LABELS).cloned();
    let names = label.as_ref().map(|(_, n)| &features[n.as_str()]["names"]);
    let names = names.and_then(Value::as_array).into_iter().flatten();
    let classes = names
        .filter_map(|n| n.as_str().map(str::to_string))
        .collect();
    let taken = [Some(&image), label.as_ref()];
    let others = images
        .iter()
        .chain(&labels)
        .filter(|c| !taken.contains(&Some(c)));
    let others = others.map(|(_, name)| name.clone()).collect();
    Ok(Columns {
        image,
        label,
        classes,
        others,
    })
}

/// A file with the labels of its rows.
struct Opened {
    table: Table,
    columns: Columns,
    labels: Vec<Option<Label>>,
}

fn open(path: &Path) -> std::result::Result<Opened, Broken> {
    let meta = metadata(path)?;
    let columns = columns(&meta).map_err(Broken::Format)?;
    let mut labels = Vec::new();
    for group in 0..meta.num_row_groups() {
        let rows = meta.row_group(group).num_rows() as usize;
        let Some((leaf, name)) = &columns.label else {
            labels.resize(labels.len() + rows, None);
            continue;
        };
        match column(File::open(path)?, &meta, (group, *leaf))? {
            Values::Numbers(all) => {
                let label = |n: Option<i64>| Some(Label::Number(u64::try_from(n?).ok()?));
                labels.extend(all.into_iter().map(label));
            }
            Values::Bytes(all) => {
                for value in all {
                    let text = value.as_ref().map(|v| std::str::from_utf8(v.data()));
                    let text = text.transpose();
                    let no =
                        |_| Broken::Format(format!("column {name} holds labels that are no text"));
                    labels.push(text.map_err(no)?.map(|t| Label::Name(t.into())));
                }
            }
        }
    }
    Ok(Opened {
        table: Table {
            path: path.into(),
            leaf: columns.image.0,
            meta,
        },
        columns,
        labels,
    })
}

/// Looks at parquet files.
///
/// # Errors
/// A file that is damaged or has no column of images; files whose columns differ; images to test on alone.
pub(super) fn look(path: &Path, mut all: Files) -> Result<Found> {
    let mut notes = std::mem::take(&mut all.notes);
    let of = shard_files::parts_of(&all, &mut notes);
    let used: Vec<_> = all
        .files
        .iter()
        .zip(of)
        .filter_map(|(f, p)| Some((f, p?)))
        .collect();
    let opened: Vec<(Opened, _)> = used
        .into_par_iter()
        .map(|(file, part)| {
            let opened = open(file).map_err(|e| fail(file, e.to_string()));
            opened.map(|o| (o, part))
        })
        .collect::<Result<_>>()?;
    let Some((first, _)) = opened.first() else {
        return Err(fail(path, "there is no parquet file"));
    };
    let names = first.columns.classes.clone();
    let about = |o: &Opened| {
        let label = o.columns.label.as_ref().map_or("none", |(_, n)| n);
        format!("images in `{}`, labels in `{label}`", o.columns.image.1)
    };
    if let Some((other, _)) = opened.iter().find(|(o, _)| about(o) != about(first)) {
        let (a, b) = (about(first), about(other));
        let reason = format!("{b}; in {}: {a}", first.table.path.display());
        return Err(fail(&other.table.path, reason));
    }
    if let Some((other, _)) = opened.iter().find(|(o, _)| o.columns.classes != names) {
        let reason = format!(
            "its classes are not those of {}",
            first.table.path.display()
        );
        return Err(fail(&other.table.path, reason));
    }
    notes.push(about(first));
    if !first.columns.others.is_empty() {
        notes.push(format!(
            "not used: column {}",
            first.columns.others.join(", ")
        ));
    }
    let mut by_part: BTreeMap<_, Vec<Labelled>> = BTreeMap::new();
    let mut files = Vec::new();
    for (o, part) in opened {
        let rows = (0..).zip(o.labels);
        let images = rows.map(|(row, label)| (member(&o.table.path, row), label));
        by_part.entry(part).or_default().extend(images);
        files.push(o.table);
    }
    let parts = shards::parts(path, all.named, by_part, &names, &mut notes)?;
    let what = match files.len() {
        1 => "a parquet file".into(),
        n => format!("{n} parquet files"),
    };
    let place = Tables {
        root: all.root.clone(),
        files,
    };
    Ok(Found {
        what,
        root: all.root,
        place: Box::new(place),
        parts,
        notes,
    })
}
