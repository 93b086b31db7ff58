//! `meta.mat` of ImageNet's devkit: a MATLAB file (level 5, "MAT-File Format", MathWorks) with an array `synsets` of
//! structures, of which the fields `ILSVRC2012_ID` and `WNID` are read.

use flate2::read::ZlibDecoder;
use std::io::Read;

/// Bytes in front of the first element.
const HEADER: usize = 128;
/// Bytes that a packed element may unpack to: the devkit's has 1.5 MiB.
const LARGEST: u64 = 64 << 20;
/// Types of elements.
const MATRIX: u32 = 14;
const PACKED: u32 = 15;
/// Class of arrays of structures.
const STRUCTURES: u32 = 2;

/// Ids and synsets, in the order of the file.
///
/// # Errors
/// No such file, a damaged one, or one without these fields.
pub(super) fn synsets(data: &[u8]) -> Result<Vec<(u32, String)>, String> {
    match data.get(126..HEADER) {
        Some(b"IM") => (),
        Some(b"MI") => return Err("is of a big-endian machine, which is not read".into()),
        _ => return Err("is no MATLAB file of level 5".into()),
    }
    let mut rest = &data[HEADER..];
    while !rest.is_empty() {
        let (kind, body) = element(&mut rest).ok_or("is cut off")?;
        let mut unpacked = Vec::new();
        let body = match kind {
            PACKED => {
                let mut packed = ZlibDecoder::new(body).take(LARGEST);
                let read = packed.read_to_end(&mut unpacked);
                read.map_err(|e| format!("is damaged: {e}"))?;
                let mut inner = &unpacked[..];
                match element(&mut inner) {
                    Some((MATRIX, body)) => body,
                    _ => continue,
                }
            }
            MATRIX => body,
            _ => continue,
        };
        if let Some(all) = structures(body) {
            return Ok(all);
        }
    }
    Err("holds no array `synsets` with ILSVRC2012_ID and WNID".into())
}

/// The next element's type and data. Elements begin at multiples of 8 bytes, packed ones excepted; up to 4 bytes of
/// data stand in the place of a length.
fn element<'d>(rest: &mut &'d [u8]) -> Option<(u32, &'d [u8])> {
    let word = |at: usize| Some(u32::from_le_bytes(rest.get(at..at + 4)?.try_into().ok()?));
    let (first, second) = (word(0)?, word(4)?);
    if first >> 16 != 0 {
        let data = rest.get(4..4 + (first >> 16) as usize);
        let data = data.filter(|d| d.len() <= 4)?;
        *rest = &rest[8..];
        return Some((first & 0xffff, data));
    }
    let len = second as usize;
    let data = rest.get(8..8usize.checked_add(len)?)?;
    let padded = match first {
        PACKED => len,
        _ => len.checked_next_multiple_of(8)?,
    };
    *rest = rest.get(8 + padded..).unwrap_or(&[]);
    Some((first, data))
}

/// Class, number of elements and name of an array; `rest` then begins with its data.
fn array<'d>(rest: &mut &'d [u8]) -> Option<(u32, usize, &'d [u8])> {
    let (_, flags) = element(rest)?;
    let class = u32::from(*flags.first()?);
    let (_, dims) = element(rest)?;
    let mut sizes = dims
        .chunks_exact(4)
        .map(|d| u32::from_le_bytes([d[0], d[1], d[2], d[3]]));
    let count = sizes.try_fold(1usize, |n, d| n.checked_mul(d as usize))?;
    let (_, name) = element(rest)?;
    Some((class, count, name))
}

/// Ids and synsets of an array of structures called `synsets`; none of another array.
fn structures(mut body: &[u8]) -> Option<Vec<(u32, String)>> {
    let rest = &mut body;
    let (class, count, name) = array(rest)?;
    if class != STRUCTURES || name != b"synsets" {
        return None;
    }
    let width = usize::try_from(number(element(rest)?)? as u64).ok();
    let (_, names) = element(rest)?;
    let fields: Vec<&[u8]> = names
        .chunks(width.filter(|w| *w > 0)?)
        .map(|n| n.split(|b| *b == 0).next().unwrap_or(n))
        .collect();
    let at = |name: &[u8]| fields.iter().position(|f| *f == name);
    let (id, synset) = (at(b"ILSVRC2012_ID")?, at(b"WNID")?);
    let mut out = Vec::new();
    for _ in 0..count {
        let (mut of_id, mut of_synset) = (None, None);
        for field in 0..fields.len() {
            let (_, mut cell) = element(rest)?;
            if field == id || field == synset {
                array(&mut cell)?;
                let data = element(&mut cell)?;
                match field == id {
                    true => of_id = number(data),
                    false => of_synset = text(data),
                }
            }
        }
        out.push((of_id? as u32, of_synset?));
    }
    Some(out)
}

/// The first number of an element.
fn number((kind, data): (u32, &[u8])) -> Option<f64> {
    let bytes = |n: usize| data.get(..n);
    Some(match kind {
        1 => f64::from(bytes(1)?[0] as i8),
        2 => f64::from(bytes(1)?[0]),
        3 => f64::from(i16::from_le_bytes(bytes(2)?.try_into().ok()?)),
        4 => f64::from(u16::from_le_bytes(bytes(2)?.try_into().ok()?)),
        5 => f64::from(i32::from_le_bytes(bytes(4)?.try_into().ok()?)),
        6 => f64::from(u32::from_le_bytes(bytes(4)?.try_into().ok()?)),
        7 => f64::from(f32::from_le_bytes(bytes(4)?.try_into().ok()?)),
        9 => f64::from_le_bytes(bytes(8)?.try_into().ok()?),
        12 => i64::from_le_bytes(bytes(8)?.try_into().ok()?) as f64,
        13 => u64::from_le_bytes(bytes(8)?.try_into().ok()?) as f64,
        _ => return None,
    })
}

/// The text of an element: bytes, or numbers of two bytes.
fn text((kind, data): (u32, &[u8])) -> Option<String> {
    match kind {
        1 | 2 | 16 => Some(String::from_utf8_lossy(data).into_owned()),
        4 | 17 => {
            let units = data
                .chunks_exact(2)
                .map(|u| u16::from_le_bytes([u[0], u[1]]));
            Some(
                char::decode_utf16(units)
                    .map(|c| c.unwrap_or('?'))
                    .collect(),
            )
        }
        _ => None,
    }
}
