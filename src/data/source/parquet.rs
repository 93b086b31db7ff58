//! Images in a column of parquet files. A row group is decoded whole, so its images come cheaply only together: they
//! are drawn by blocks (`data.shuffle`), and row groups that were decoded stay in memory within a bound of bytes.

use super::pread::will_need;
use super::{Fault, Place, Source};
use crate::data::load::name_of;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, DataType};
use parquet::file::metadata::{ParquetMetaData, ParquetStatisticsPolicy};
use parquet::file::properties::ReaderProperties;
use parquet::file::reader::{FileReader, RowGroupReader, SerializedFileReader};
use parquet::file::serialized_reader::{ReadOptionsBuilder, SerializedRowGroupReader};
use std::collections::HashMap;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// Values that are asked for at once.
const STEP: usize = 256;
/// Bytes of a decoded row group at most.
const LARGEST: i64 = 16 << 30;

/// Why a parquet file, or a part of it, is not read.
#[derive(Clone, Debug, thiserror::Error)]
pub(in crate::data) enum Broken {
    /// The storage failed.
    #[error("{1}")]
    Io(std::io::ErrorKind, String),
    /// What is there is no whole parquet file, or not one that is read here.
    #[error("{0}")]
    Format(String),
}

impl From<std::io::Error> for Broken {
    fn from(e: std::io::Error) -> Self {
        Self::Io(e.kind(), e.to_string())
    }
}

impl From<parquet::errors::ParquetError> for Broken {
    fn from(e: parquet::errors::ParquetError) -> Self {
        if let parquet::errors::ParquetError::External(inner) = &e
            && let Some(io) = inner.downcast_ref::<std::io::Error>()
        {
            return Self::Io(io.kind(), io.to_string());
        }
        Self::Format(e.to_string())
    }
}

impl From<Broken> for Fault {
    fn from(e: Broken) -> Self {
        match e {
            Broken::Io(kind, text) => std::io::Error::new(kind, text).into(),
            Broken::Format(text) => Self::Bad(text),
        }
    }
}

/// The library's readers trust some numbers of a file, and panic where these are wrong: that is an error of the file.
fn guarded<T>(work: impl FnOnce() -> Result<T, Broken>) -> Result<T, Broken> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(Broken::Format(
            "its numbers contradict each other: a damaged file".into(),
        ))
    })
}

/// Metadata of a file.
///
/// # Errors
/// It cannot be read, or is no parquet file; numbers that cannot be.
pub(in crate::data) fn metadata(path: &Path) -> Result<Arc<ParquetMetaData>, Broken> {
    guarded(|| {
        let file = File::open(path)?;
        let bytes = file.metadata()?.len();
        let skip = ParquetStatisticsPolicy::SkipAll;
        let options = ReadOptionsBuilder::new()
            .with_column_stats_policy(skip.clone())
            .with_size_stats_policy(skip.clone())
            .with_encoding_stats_policy(skip);
        let reader = SerializedFileReader::new_with_options(file, options.build())?;
        let meta = reader.metadata().clone();
        for group in meta.row_groups() {
            let rows = group.num_rows();
            let fits = |c: &parquet::file::metadata::ColumnChunkMetaData| {
                let start = c.dictionary_page_offset().unwrap_or(c.data_page_offset());
                let end = start.checked_add(c.compressed_size());
                start >= 0
                    && c.compressed_size() >= 0
                    && end.is_some_and(|end| end as u64 <= bytes)
                    && (0..=LARGEST).contains(&c.uncompressed_size())
                    && c.num_values() >= 0
            };
            if !(0..=i64::from(u32::MAX)).contains(&rows) || !group.columns().iter().all(fits) {
                let text =
                    "its metadata speak of bytes that it does not have: it is cut short or damaged";
                return Err(Broken::Format(text.into()));
            }
        }
        Ok(Arc::new(meta))
    })
}

/// Values of a leaf column of a row group, with `None` for nulls.
fn values<T: DataType>(
    mut column: ColumnReaderImpl<T>,
    (rows, defined): (usize, i16),
) -> Result<Vec<Option<T::T>>, Broken> {
    let mut out = Vec::new();
    let (mut levels, mut some) = (Vec::new(), Vec::new());
    while out.len() < rows {
        levels.clear();
        some.clear();
        let most = STEP.min(rows - out.len());
        let (records, ..) = column.read_records(most, Some(&mut levels), None, &mut some)?;
        if records == 0 {
            let (there, all) = (out.len(), rows);
            return Err(Broken::Format(format!(
                "a row group has {there} values of {all}"
            )));
        }
        if defined == 0 {
            out.extend(some.drain(..).map(Some));
            continue;
        }
        let mut some = some.drain(..);
        out.extend(levels.iter().map(|l| match *l == defined {
            true => some.next(),
            false => None,
        }));
    }
    Ok(out)
}

/// Values of a column: those that labels may be.
pub(in crate::data) enum Values {
    /// Whole numbers.
    Numbers(Vec<Option<i64>>),
    /// Bytes, which may be text.
    Bytes(Vec<Option<ByteArray>>),
}

/// Reads a leaf column of a row group.
///
/// # Errors
/// As [`Broken`]; a column of another type.
pub(in crate::data) fn column(
    file: File,
    meta: &ParquetMetaData,
    (group, leaf): (usize, usize),
) -> Result<Values, Broken> {
    guarded(|| {
        let about = meta.row_group(group);
        let reader = SerializedRowGroupReader::new(
            Arc::new(file),
            about,
            meta.page_index_for_row_group(group),
            Arc::new(ReaderProperties::builder().build()),
        )?;
        let column = about.column(leaf).column_descr();
        let of = (about.num_rows() as usize, column.max_def_level());
        Ok(match reader.get_column_reader(leaf)? {
            ColumnReader::ByteArrayColumnReader(c) => Values::Bytes(values(c, of)?),
            ColumnReader::Int64ColumnReader(c) => Values::Numbers(values(c, of)?),
            ColumnReader::Int32ColumnReader(c) => {
                let all = values(c, of)?.into_iter();
                Values::Numbers(all.map(|v| v.map(i64::from)).collect())
            }
            ColumnReader::BoolColumnReader(c) => {
                let all = values(c, of)?.into_iter();
                Values::Numbers(all.map(|v| v.map(i64::from)).collect())
            }
            _ => {
                let text = format!("column {} is of another type", column.path());
                return Err(Broken::Format(text));
            }
        })
    })
}

/// A file with its images' column.
#[derive(Debug)]
pub(in crate::data) struct Table {
    pub path: PathBuf,
    pub meta: Arc<ParquetMetaData>,
    /// The leaf column of the images' bytes.
    pub leaf: usize,
}

/// Parquet files; an image's path is the file's with the row's number behind it.
#[derive(Debug)]
pub(in crate::data) struct Tables {
    pub root: PathBuf,
    pub files: Vec<Table>,
}

/// The path of an image.
pub(in crate::data) fn member(file: &Path, row: u64) -> PathBuf {
    file.join(format!("{row:06}"))
}

impl Place for Tables {
    fn source(self: Box<Self>, members: Vec<PathBuf>) -> Box<dyn Source> {
        // Row groups of all files, with the first row of each.
        let (mut groups, mut of_file) = (Vec::new(), HashMap::new());
        for (i, table) in self.files.iter().enumerate() {
            let (begin, mut row) = (groups.len(), 0);
            for (g, group) in table.meta.row_groups().iter().enumerate() {
                groups.push(Group {
                    file: i,
                    group: g,
                    first: row,
                });
                row += group.num_rows() as u64;
            }
            of_file.insert(table.path.as_path(), begin..groups.len());
        }
        let place = |path: &PathBuf| -> Option<(u32, u32)> {
            let own = of_file.get(path.parent()?)?.clone();
            let row: u64 = path.file_name()?.to_str()?.parse().ok()?;
            let at = groups[own.clone()].partition_point(|g| g.first <= row);
            let block = own.start + at.checked_sub(1)?;
            Some((block as u32, (row - groups[block].first) as u32))
        };
        let images = members.iter().map(|m| place(m).unwrap_or((u32::MAX, 0)));
        let images = images.collect();
        let bytes = |g: &Group| {
            let table = &self.files[g.file];
            let about = table.meta.row_group(g.group).column(table.leaf);
            about.uncompressed_size().max(1) as u64
        };
        let largest = groups.iter().map(bytes).max().unwrap_or(1);
        // Where images are read in their order, each thread is within a row group.
        let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
        let budget = largest.saturating_mul(threads + 2);
        Box::new(Rows {
            images,
            root: self.root,
            files: self.files,
            groups,
            members,
            largest,
            cache: Cache {
                budget,
                kept: Mutex::default(),
            },
        })
    }
}

/// A row group.
#[derive(Clone, Copy, Debug)]
struct Group {
    file: usize,
    /// Its number in the file.
    group: usize,
    /// The number of its first row in the file.
    first: u64,
}

/// The images of a set.
#[derive(Debug)]
struct Rows {
    root: PathBuf,
    files: Vec<Table>,
    groups: Vec<Group>,
    members: Vec<PathBuf>,
    /// Row group and row in it of each image.
    images: Vec<(u32, u32)>,
    /// Bytes of the largest row group.
    largest: u64,
    cache: Cache,
}

/// Images of a decoded row group.
type Decoded = Result<Vec<Option<ByteArray>>, Broken>;

/// Row groups that were decoded.
#[derive(Debug)]
struct Cache {
    budget: u64,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    slots: HashMap<u32, Slot>,
    /// Counts what was asked for.
    clock: u64,
    bytes: u64,
}

#[derive(Debug)]
struct Slot {
    rows: Arc<OnceLock<Decoded>>,
    used: u64,
    /// None while it is decoded.
    bytes: Option<u64>,
}

impl Cache {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn holds(&self, block: u32) -> bool {
        self.kept().slots.contains_key(&block)
    }

    /// A row group. The first thread that asks decodes it while others that want it wait. What was used least recently
    /// goes when the bytes are more than the budget; whoever reads it still has it.
    fn get(&self, block: u32, decode: impl FnOnce() -> Decoded) -> Arc<OnceLock<Decoded>> {
        let rows = {
            let kept = &mut *self.kept();
            kept.clock += 1;
            let slot = kept.slots.entry(block).or_insert_with(|| Slot {
                rows: Arc::default(),
                used: 0,
                bytes: None,
            });
            slot.used = kept.clock;
            Arc::clone(&slot.rows)
        };
        let mut mine = false;
        let found = rows.get_or_init(|| {
            mine = true;
            decode()
        });
        if !mine {
            return rows;
        }
        let kept = &mut *self.kept();
        match found {
            // It may pass: the next one who asks tries again.
            Err(Broken::Io(..)) => {
                kept.slots.remove(&block);
            }
            Err(Broken::Format(_)) => (),
            Ok(all) => {
                let bytes = all.iter().flatten().map(|b| b.len() as u64).sum();
                if let Some(slot) = kept.slots.get_mut(&block) {
                    slot.bytes = Some(bytes);
                    kept.bytes += bytes;
                }
            }
        }
        while kept.bytes > self.budget {
            let done = kept
                .slots
                .iter()
                .filter(|(b, s)| s.bytes.is_some() && **b != block);
            let Some(oldest) = done.min_by_key(|(_, s)| s.used).map(|(b, _)| *b) else {
                break;
            };
            let gone = kept.slots.remove(&oldest).and_then(|s| s.bytes);
            kept.bytes -= gone.unwrap_or(0);
        }
        rows
    }
}

impl Rows {
    fn decode(&self, group: Group) -> Decoded {
        let table = &self.files[group.file];
        let file = File::open(&table.path)?;
        match column(file, &table.meta, (group.group, table.leaf))? {
            Values::Bytes(all) => Ok(all),
            Values::Numbers(_) => Err(Broken::Format("its images are numbers".into())),
        }
    }
}

impl Source for Rows {
    fn name(&self, image: u32) -> String {
        name_of(&self.members[image as usize], &self.root)
    }

    fn read(&self, image: u32, bytes: &mut Vec<u8>) -> Result<(), Fault> {
        let (block, row) = self.images[image as usize];
        let Some(group) = self.groups.get(block as usize) else {
            return Err(Fault::Bad("there is no such row".into()));
        };
        let rows = self.cache.get(block, || self.decode(*group));
        let found = match rows.get() {
            Some(Ok(all)) => all.get(row as usize).and_then(Option::as_ref),
            Some(Err(e)) => return Err(e.clone().into()),
            None => None,
        };
        bytes.clear();
        match found {
            Some(found) => bytes.extend_from_slice(found.data()),
            None => {
                let text =
                    "the row has no bytes of an image (perhaps a path to a file elsewhere alone)";
                return Err(Fault::Bad(text.into()));
            }
        }
        Ok(())
    }

    fn will_need(&self, images: &[u32]) {
        let mut blocks: Vec<u32> = images.iter().map(|i| self.images[*i as usize].0).collect();
        blocks.sort_unstable();
        blocks.dedup();
        for block in blocks {
            let Some(group) = self
                .groups
                .get(block as usize)
                .filter(|_| !self.cache.holds(block))
            else {
                continue;
            };
            let table = &self.files[group.file];
            let (at, bytes) = table
                .meta
                .row_group(group.group)
                .column(table.leaf)
                .byte_range();
            if let Ok(file) = File::open(&table.path) {
                will_need(&file, at, bytes);
            }
        }
    }

    fn block(&self, image: u32) -> u32 {
        self.images[image as usize].0
    }

    fn keep(&mut self, bytes: u64) {
        self.cache.budget = bytes;
    }

    fn blocks_at_once(&self) -> usize {
        // Those that are decoded while others are still read need room too.
        (self.cache.budget / 4 * 3 / self.largest) as usize
    }

    fn random_access(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn rows(bytes: usize) -> Decoded {
        Ok(vec![Some(ByteArray::from(vec![7; bytes]))])
    }

    #[test]
    fn a_row_group_is_decoded_once_and_the_one_used_least_recently_goes() {
        let cache = Cache {
            budget: 25,
            kept: Mutex::default(),
        };
        let times = AtomicUsize::new(0);
        let get = |block| {
            let decode = || {
                times.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(std::time::Duration::from_millis(5));
                rows(10)
            };
            assert!(cache.get(block, decode).get().unwrap().is_ok());
        };
        std::thread::scope(|s| (0..8).for_each(|_| drop(s.spawn(|| get(0)))));
        assert_eq!(
            times.load(Ordering::Relaxed),
            1,
            "eight threads, one decodes"
        );
        [1, 0, 2].into_iter().for_each(get);
        assert_eq!(times.load(Ordering::Relaxed), 3);
        // Of the three, block 1 was used least recently.
        assert!(cache.holds(0) && !cache.holds(1) && cache.holds(2));
        assert_eq!(cache.kept().bytes, 20);
        get(1);
        assert_eq!(times.load(Ordering::Relaxed), 4);
        // One that is larger than the budget stays while it is the newest.
        assert!(cache.get(9, || rows(100)).get().unwrap().is_ok());
        assert!(cache.holds(9) && cache.kept().slots.len() == 1);
    }

    #[test]
    fn what_the_storage_failed_to_give_is_asked_for_again_and_what_is_broken_is_not() {
        let cache = Cache {
            budget: 25,
            kept: Mutex::default(),
        };
        let failed = || Err(Broken::Io(std::io::ErrorKind::TimedOut, "late".into()));
        assert!(cache.get(0, failed).get().unwrap().is_err());
        assert!(cache.get(0, || rows(1)).get().unwrap().is_ok());
        let broken = || Err(Broken::Format("torn".into()));
        assert!(cache.get(1, broken).get().unwrap().is_err());
        assert!(cache.get(1, || rows(1)).get().unwrap().is_err());
        // What panics is an error too.
        let e = guarded::<()>(|| panic!("numbers")).unwrap_err();
        assert!(e.to_string().contains("a damaged file"), "{e}");
    }
}
