//! Files that may be packed by gzip, in one member or several (`cat a.gz b.gz`, pigz, bgzip).

use super::DataError;
use flate2::bufread::GzDecoder;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Largest file that is unpacked in memory, packed and unpacked: twenty times MNIST, and no bomb.
const LARGEST: u64 = 1 << 30;

/// The file `name` of a folder, as it is or with `.gz`, if `names` has it.
pub(super) fn find(folder: &Path, names: &[String], name: &str) -> Option<PathBuf> {
    let both = [name.to_string(), format!("{name}.gz")];
    let found = both.iter().find(|n| names.contains(n))?;
    Some(folder.join(found))
}

/// Bytes of a file, unpacked where its name ends in `.gz`. Zeros behind the last member are padding, as for gunzip.
///
/// # Errors
/// An unreadable or damaged file, one of more than a GiB, and bytes behind the packed data.
pub(super) fn bytes(path: &Path) -> Result<Vec<u8>, DataError> {
    let io = |source| DataError::Io {
        path: path.into(),
        source,
    };
    let fail = |reason: String| DataError::Format {
        path: path.into(),
        reason,
    };
    let packed = std::fs::read(path).map_err(io)?;
    if path
        .extension()
        .is_none_or(|e| !e.eq_ignore_ascii_case("gz"))
    {
        return Ok(packed);
    }
    let mut rest = &packed[..];
    let mut data = Vec::new();
    let mut members = 0;
    while members == 0 || rest.iter().any(|b| *b != 0) {
        if members > 0 && !rest.starts_with(b"\x1f\x8b") {
            return Err(fail(format!(
                "{} bytes behind the packed data, from byte {} on, are not packed: the file is damaged, or was \
                 joined with another",
                rest.len(),
                packed.len() - rest.len()
            )));
        }
        let left = LARGEST + 1 - data.len() as u64;
        let mut member = GzDecoder::new(rest);
        member
            .by_ref()
            .take(left)
            .read_to_end(&mut data)
            .map_err(io)?;
        if data.len() as u64 > LARGEST {
            let limit = LARGEST >> 20;
            return Err(fail(format!(
                "over {limit} MiB when unpacked: unpack it yourself"
            )));
        }
        rest = member.into_inner();
        members += 1;
    }
    Ok(data)
}
