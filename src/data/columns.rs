//! The text of a list of images: which character separates the cells, and which column is what.

use super::names::{Part, part, parts};
use super::parts::some;
use csv::StringRecord;
use std::collections::BTreeSet;

/// Separators, in the order in which they are preferred.
const SEPARATORS: [u8; 4] = *b",;\t|";
/// Names of the column of files, in the order of preference. All names are compared without capitals and signs.
const PATHS: &[&str] = &[
    "path",
    "paths",
    "file",
    "files",
    "filename",
    "filenames",
    "filepath",
    "filepaths",
    "fname",
    "relativepath",
    "relpath",
    "image",
    "images",
    "imagepath",
    "imagefile",
    "imagefilename",
    "imagename",
    "img",
    "imgpath",
    "imgfile",
    "imgname",
];
/// Names of the column of labels likewise.
const LABELS: &[&str] = &[
    "label",
    "labels",
    "class",
    "classes",
    "classname",
    "labelname",
    "category",
    "categoryname",
    "target",
    "targets",
];
/// Names of the column of parts likewise. But for the first, one serves only if it holds a part's name.
const SPLITS: &[&str] = &[
    "split",
    "splits",
    "set",
    "subset",
    "fold",
    "partition",
    "phase",
    "dataset",
    "usage",
];

/// A line of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// Its number in the file, from 1.
    pub line: u64,
    /// The file, as it is written.
    pub path: String,
    /// The label; empty where there is none.
    pub label: String,
    /// The part, as it is written.
    pub split: String,
    /// The part that this is.
    pub part: Part,
}

/// What a list says.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// Its lines but for the one that names the columns.
    pub rows: Vec<Row>,
    /// What was guessed, and what is not used.
    pub notes: Vec<String>,
}

/// A column's name without capitals and signs.
fn plain(name: &str) -> String {
    let kept: String = name.chars().filter(|c| c.is_alphanumeric()).collect();
    kept.to_lowercase()
}

/// Columns that bear one of `names`, the preferred name first.
fn columns(head: &StringRecord, names: &[&str]) -> Vec<usize> {
    let mut out = Vec::new();
    for name in names {
        out.extend((0..head.len()).filter(|i| plain(&head[*i]) == *name));
    }
    out
}

fn records(text: &str, separator: u8) -> csv::StringRecordsIntoIter<&[u8]> {
    csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .trim(csv::Trim::All)
        .delimiter(separator)
        .from_reader(text.as_bytes())
        .into_records()
}

/// The separator with which the first line names a column of files, or else begins with a file; or else cuts the line
/// into most cells.
fn separator(text: &str, is_file: &dyn Fn(&str) -> bool) -> u8 {
    let rate = |separator: u8| {
        let Some(Ok(first)) = records(text, separator).next() else {
            return (0, 0);
        };
        let rank = match first.get(0) {
            _ if !columns(&first, PATHS).is_empty() => 2,
            Some(cell) if is_file(cell) => 1,
            _ => 0,
        };
        (rank, first.len())
    };
    // Of equals, the last one is the greatest.
    let mut preferred_last = SEPARATORS;
    preferred_last.reverse();
    preferred_last
        .into_iter()
        .max_by_key(|s| rate(*s))
        .unwrap_or(b',')
}

/// The text of a file.
fn text(data: &[u8]) -> Result<&str, String> {
    if data.starts_with(b"\xff\xfe") || data.starts_with(b"\xfe\xff") {
        return Err("the list is UTF-16; save it as CSV in UTF-8".into());
    }
    std::str::from_utf8(data).map_err(|e| {
        let line = 1 + data[..e.valid_up_to()]
            .iter()
            .filter(|b| **b == b'\n')
            .count();
        format!("line {line} is no UTF-8; save the list as CSV in UTF-8")
    })
}

/// Reads a list. `is_file` says whether a cell names a file.
///
/// # Errors
/// No text, a first line that neither names the columns nor begins with a file, a line without a file, a part that is
/// none.
pub(super) fn parse(data: &[u8], is_file: &dyn Fn(&str) -> bool) -> Result<Table, String> {
    let text = text(data)?;
    let separator = separator(text, is_file);
    let mut all = Vec::new();
    for record in records(text, separator) {
        all.push(record.map_err(|e| e.to_string())?);
    }
    let mut table = Table::default();
    let Some(first) = all.first() else {
        return Ok(table);
    };
    let paths = columns(first, PATHS);
    let cell = first.get(0).unwrap_or("");
    let head = match paths.first() {
        // A label may read `image`; a file that is there makes the line an image's.
        Some(_) if !is_file(cell) => Some(all.remove(0)),
        _ if cell.is_empty() || is_file(cell) => None,
        _ => return Err(no_head(first, separator, is_file)),
    };
    let columns = Columns::of(head.as_ref(), &all, &mut table.notes);
    if separator != b',' {
        let name = match separator {
            b'\t' => "tabs".into(),
            s => format!("`{}`", char::from(s)),
        };
        table
            .notes
            .push(format!("the cells are separated by {name}"));
    }
    let wide = head.as_ref().or(all.first()).map_or(0, StringRecord::len);
    let wider = all.iter().filter(|r| r.len() > wide).count();
    if wider > 0 {
        table.notes.push(format!(
            "lines with more cells than the first: {wider}; a name with a comma needs quotes"
        ));
    }
    for record in &all {
        table.rows.push(columns.row(record)?);
    }
    let empty = table.rows.iter().filter(|r| r.split.is_empty()).count();
    if empty > 0 && empty < table.rows.len() {
        table.notes.push(format!(
            "lines without a split, which are trained on: {empty}"
        ));
    }
    Ok(table)
}

/// Why a first line is refused.
fn no_head(first: &StringRecord, separator: u8, is_file: &dyn Fn(&str) -> bool) -> String {
    let cells: Vec<&str> = first.iter().collect();
    let second = first.iter().skip(1).find(|c| is_file(c));
    let advice = match second {
        Some(file) => {
            format!("`{file}` is a file, but no first cell: name the columns in a line before")
        }
        None => format!(
            "begin with a line such as path{0}label{0}split (file, filename or image for path, and class, category or \
             target for label are known too)",
            char::from(separator)
        ),
    };
    format!(
        "no training image in line 1: {} is no file, and none of {} names a column of files; {advice}",
        some(&cells[..1]),
        some(&cells)
    )
}

/// Which column is what.
#[derive(Debug)]
struct Columns {
    path: usize,
    label: Option<usize>,
    split: Option<usize>,
}

impl Columns {
    fn of(head: Option<&StringRecord>, rows: &[StringRecord], notes: &mut Vec<String>) -> Self {
        let Some(head) = head else {
            let wide = rows.iter().map(StringRecord::len).max().unwrap_or(0);
            if wide > 3 {
                notes.push(format!(
                    "columns not used: the {} behind the third; the first line does not name them",
                    wide - 3
                ));
            }
            return Self {
                path: 0,
                label: Some(1),
                split: Some(2),
            };
        };
        let holds_parts = |column: usize| {
            let mut cells = rows.iter().filter_map(|r| r.get(column));
            plain(&head[column]) == SPLITS[0] || cells.any(|c| part(c).is_some())
        };
        let out = Self {
            path: columns(head, PATHS).first().copied().unwrap_or(0),
            label: columns(head, LABELS).first().copied(),
            split: columns(head, SPLITS).into_iter().find(|c| holds_parts(*c)),
        };
        let used = [Some(out.path), out.label, out.split];
        let idle: Vec<&str> = (0..head.len())
            .filter(|i| !used.contains(&Some(*i)) && !head[*i].is_empty())
            .map(|i| &head[i])
            .collect();
        if !idle.is_empty() {
            let labels = match out.label {
                Some(_) => "",
                None => "; a column of labels is called label, class, category or target",
            };
            notes.push(format!("columns not used: {}{labels}", some(&idle)));
        }
        out
    }

    fn row(&self, record: &StringRecord) -> Result<Row, String> {
        let line = record.position().map_or(0, csv::Position::line);
        let cell = |column: Option<usize>| {
            let cell = column.and_then(|c| record.get(c)).unwrap_or("");
            cell.to_string()
        };
        let (path, label, split) = (cell(Some(self.path)), cell(self.label), cell(self.split));
        if path.is_empty() {
            return Err(format!("line {line} names no file"));
        }
        let part = match part(&split) {
            Some(part) => part,
            None if split.is_empty() => Part::Train,
            None => {
                return Err(format!(
                    "line {line}: split is `{split}`; expected one of {}",
                    parts()
                ));
            }
        };
        Ok(Row {
            line,
            path,
            label,
            split,
            part,
        })
    }
}

/// Parts of the rows, as they are written, in the order of preference.
pub(super) fn splits<'a>(rows: impl Iterator<Item = &'a Row>) -> Vec<String> {
    let all: BTreeSet<(Part, &str)> = rows.map(|r| (r.part, &*r.split)).collect();
    all.into_iter().map(|(_, name)| name.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::philox::{Purpose, Stream};

    /// Texts of pieces that mean something, in any order: read, or refused with a reason.
    #[test]
    fn any_text_is_read_or_refused() {
        const PIECES: [&[u8]; 16] = [
            b"path",
            b"label",
            b"split",
            b"a.png",
            b"train",
            b"val",
            b",",
            b",",
            b";",
            b"\t",
            b"\"",
            b"\n",
            b"\r\n",
            b" ",
            b"\xff",
            b"\xef\xbb\xbf",
        ];
        let (mut read, mut refused) = (0, 0);
        for seed in 0..3000 {
            let mut s = Stream::new(seed, 0, 0, Purpose::Shapes);
            let mut text = Vec::new();
            for _ in 0..s.below(24) {
                text.extend(PIECES[s.below(PIECES.len())]);
            }
            match parse(&text, &|cell| cell == "a.png") {
                Ok(table) => {
                    read += usize::from(!table.rows.is_empty());
                    assert!(table.rows.iter().all(|r| !r.path.is_empty()), "{text:?}");
                }
                Err(reason) => {
                    refused += 1;
                    assert!(!reason.is_empty());
                }
            }
        }
        assert!(read > 30 && refused > 300, "{read} read, {refused} refused");
    }
}
