//! A packed copy beside a set (`data.cache`): made once, and read from then on.

use super::format::{About, INDEX, Index, SAME_IMAGES};
use super::{Packing, Records, SHARD_MIB, fail, pack_listed};
use crate::data::listed::{self, digest};
use crate::data::{Request, Result, Split, open};
use crate::graph::plan::mebibytes;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// Opens a set through its packed copy in `cache`, which is made if it is not there. A copy with JPEG records
/// ([`Records::Jpeg90`]) that was packed there before serves as well. It holds all images, whatever `data.list` takes.
///
/// # Errors
/// As [`open`] and [`super::pack`]; a copy of other images, or of these as they were.
pub fn open_cached(r: &Request<'_>, cache: &Path) -> Result<Split> {
    let path = Path::new(r.path);
    let listed = match listed::files(path)? {
        Some(listed) if listed.packed.is_none() => listed,
        other => {
            let is = match other {
                Some(_) => "is packed itself",
                None => "is kept in memory as it is",
            };
            let mut split = open(r)?;
            split
                .warnings
                .push(format!("data.cache is not used: this set {is}"));
            return Ok(split);
        }
    };
    let mut note = None;
    if cache.join(INDEX).is_file() {
        let members: Vec<PathBuf> = listed.parts.entries().map(|(p, _)| p.clone()).collect();
        let source = listed.place.source(members);
        let now = digest(&listed.what, &listed.root, &listed.parts, source.as_ref());
        let is = Index::read(cache)?.about;
        let wanted = About::new(
            now,
            (r.reading, r.stored_size),
            is.records,
            (None, SHARD_MIB),
        );
        if let Some(why) = is.differs(&wanted, &SAME_IMAGES) {
            return Err(fail(
                cache,
                format!(
                    "the packed copy there is not of {} as it is to be read now: {why}; remove the copy, which is then \
                     made anew, or name another folder with data.cache",
                    path.display()
                ),
            ));
        }
    } else {
        let packed = pack_listed(
            &Packing {
                data: Request { ..*r },
                out: cache,
                records: Records::Raw,
                shuffle: None,
                shard_mib: SHARD_MIB,
                stop: &AtomicBool::new(false),
            },
            listed,
        )?;
        note = Some(format!(
            "{} images were packed into {} ({}): they are read from there from now on",
            packed.images,
            cache.display(),
            mebibytes(packed.bytes as usize)
        ));
    }
    let from = cache.to_string_lossy();
    let mut split = open(&Request { path: &from, ..*r })?;
    split.warnings.extend(note);
    Ok(split)
}
