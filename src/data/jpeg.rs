//! JPEG files: whole ones are decoded, ones that broke off are refused.
//!
//! Decoders show what they can of a damaged file and fill up the rest. A training set would then hold grey images
//! without a word, so the file's segments are walked here first, and the decoder runs in its strict mode.

#[cfg(feature = "turbojpeg")]
use super::turbo::decode as by_turbo;
use image::metadata::Orientation;
use std::collections::HashMap;
use std::ops::Range;
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

/// Stuffed bytes put behind the last scan: they are 64 one-bits to a Huffman decoder. No code consists of ones alone
/// (ITU T.81, C.2), so that a scan which needs more bits than it has ends in an error, where the end marker by itself
/// would read as zeros. A whole scan never reads them. The longest code has 16 bits; decoders fetch 32 ahead.
const ONES: [u8; 16] = [
    0xFF, 0, 0xFF, 0, 0xFF, 0, 0xFF, 0, 0xFF, 0, 0xFF, 0, 0xFF, 0, 0xFF, 0,
];
const END: [u8; 2] = [0xFF, 0xD9];
/// So many zeros at the end of a file without an end marker are space that was reserved and never written.
const ZEROS: usize = 16;

/// What is odd about a file whose pixels are whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Oddity {
    /// The end marker is missing.
    NoEnd,
    /// There are bytes between the segments of the header that belong to none.
    Header,
}

/// What was decoded of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decoded {
    /// Width and height of the image at the size at which it was decoded.
    pub whole: (usize, usize),
    /// Column and row of it at which what was decoded begins.
    pub at: (usize, usize),
    /// Width and height of what was decoded.
    pub kept: (usize, usize),
    /// Bytes of a pixel: red, green, blue, and, where there are four, one without a meaning.
    pub bytes: usize,
}

/// What libjpeg-turbo is asked for.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "turbojpeg"), expect(dead_code))]
pub(super) struct Aim {
    /// What the shorter side needs at least: the image is decoded at a half, a quarter or an eighth of its size where
    /// it then still has so many pixels.
    pub least: u32,
    /// No more is needed than the centred square.
    pub square: bool,
    /// Bytes of a pixel, 3 or 4.
    pub bytes: usize,
}

impl Decoded {
    /// The whole of an image, as pixels of three bytes.
    pub(super) fn all(side: (usize, usize)) -> Self {
        Self {
            whole: side,
            at: (0, 0),
            kept: side,
            bytes: 3,
        }
    }
}

/// An image that was decoded.
pub(super) struct Jpeg {
    /// Width and height in the file.
    pub side: (usize, usize),
    /// What of it the pixels are.
    pub part: Decoded,
    /// What its EXIF data say.
    pub orientation: Orientation,
    /// What is odd about the file.
    pub oddity: Option<Oddity>,
}

/// Where the segments of a file are.
#[derive(Debug, Default)]
struct Structure {
    /// Behind the last byte of the last scan.
    end: usize,
    /// The end marker follows.
    ended: bool,
    /// Bytes between segments that belong to none.
    strays: Vec<Range<usize>>,
    scans: usize,
    /// Where the data of the last scan begin.
    last: usize,
    /// Restart markers stand within scans.
    restarts: bool,
    progressive: bool,
    /// The lowest bit that was sent of each coefficient of each component.
    sent: HashMap<u8, [u8; 64]>,
}

impl Structure {
    /// Does every coefficient have all its bits?
    fn refined(&self) -> bool {
        self.sent.values().flatten().all(|low| *low == 0)
    }

    /// Notes the components of a frame header.
    fn frame(&mut self, body: &[u8]) {
        let components = body.get(6..).unwrap_or_default().chunks_exact(3);
        self.sent = components.map(|c| (c[0], [u8::MAX; 64])).collect();
    }

    /// Notes which bits a scan sends.
    fn scan(&mut self, body: &[u8]) {
        self.scans += 1;
        let count = usize::from(*body.first().unwrap_or(&0));
        let rest = body.get(1 + 2 * count..).unwrap_or_default();
        let [first, last, bits, ..] = rest else {
            return;
        };
        let (first, last) = (usize::from(*first), usize::from(*last).min(63));
        for c in body[1..].chunks_exact(2).take(count) {
            let of = self.sent.get_mut(&c[0]);
            for low in of
                .and_then(|s| s.get_mut(first..=last))
                .into_iter()
                .flatten()
            {
                *low = bits & 15;
            }
        }
    }
}

/// The next marker at or behind `at`: where it begins, and its second byte. Bytes of value 255 in front of a marker
/// are filling.
fn marker(bytes: &[u8], mut at: usize, scan: bool) -> Option<(usize, u8)> {
    loop {
        at += memchr::memchr(0xFF, bytes.get(at..)?)?;
        let fill = bytes[at..].iter().position(|b| *b != 0xFF)?;
        match bytes[at + fill] {
            // A stuffed zero, or a restart within a scan.
            0 => at += fill + 1,
            0xD0..=0xD7 if scan => at += fill + 1,
            code => return Some((at, code)),
        }
    }
}

/// Walks over the segments up to the end marker, or to where the file breaks off.
fn structure(bytes: &[u8]) -> Result<Structure, String> {
    let mut s = Structure::default();
    let (mut at, mut scan) = (2, false);
    while let Some((begin, code)) = marker(bytes, at, scan) {
        if begin > at && !scan {
            s.strays.push(at..begin);
        }
        let fill = bytes[begin..].iter().take_while(|b| **b == 0xFF).count();
        let body = begin + fill + 1;
        if scan {
            s.end = begin;
        }
        scan = false;
        match code {
            0xD9 if s.scans > 0 => {
                s.ended = true;
                return Ok(s);
            }
            // Markers without a segment.
            0x01 | 0xD0..=0xD9 => {
                at = body;
                continue;
            }
            _ => {}
        }
        let length = bytes.get(body..body + 2);
        let length = length.map(|l| usize::from(u16::from_be_bytes([l[0], l[1]])));
        let Some(inside) = length.and_then(|l| bytes.get(body + 2..body + l.max(2))) else {
            break;
        };
        match code {
            0xC0..=0xC2 => {
                s.frame(inside);
                s.progressive = code == 0xC2;
            }
            0xDD => s.restarts = inside != [0, 0],
            0xDA => {
                s.scan(inside);
                s.last = body + 2 + inside.len();
                scan = true;
            }
            _ => {}
        }
        at = body + 2 + inside.len();
    }
    if s.scans == 0 {
        return Err("it breaks off in its header, before the pixels".into());
    }
    // The file ends within a scan, or behind one.
    if scan {
        s.end = bytes.len();
    }
    // A scan of zeros alone is nothing to wonder at in a progressive file: colours that hardly change have such scans.
    let zeros = s.progressive && bytes[s.last..].iter().all(|b| *b == 0);
    if bytes.ends_with(&[0; ZEROS]) && !zeros {
        return Err("it breaks off: zeros stand where its pixels should go on".into());
    }
    Ok(s)
}

fn options(limit: u32) -> DecoderOptions {
    DecoderOptions::default()
        .set_max_width(limit as usize)
        .set_max_height(limit as usize)
        .jpeg_set_out_colorspace(ColorSpace::RGB)
}

/// A file whose header was read.
struct Header<'a> {
    decoder: JpegDecoder<ZCursor<&'a [u8]>>,
    side: (usize, usize),
    /// Bytes of its pixels.
    size: usize,
    orientation: Orientation,
}

/// Reads a file's header. No side may exceed `limit`, nor all pixels `memory` bytes.
fn header(bytes: &[u8], whole: bool, (limit, memory): (u32, u64)) -> Result<Header<'_>, String> {
    let options = options(limit).set_strict_mode(whole);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(|e| e.to_string())?;
    let side = decoder.dimensions().unwrap_or_default();
    let size = decoder.output_buffer_size().unwrap_or(usize::MAX);
    if size as u64 > memory {
        return Err(format!("{}x{} pixels are too many", side.0, side.1));
    }
    let orientation = decoder.exif().and_then(|e| Orientation::from_exif_chunk(e));
    Ok(Header {
        decoder,
        side,
        size,
        orientation: orientation.unwrap_or(Orientation::NoTransforms),
    })
}

/// Decodes a file to RGB into `pixels`, [height,width,bytes] of the part that is returned. `bytes` are changed behind
/// the last scan. With `whole`, files that broke off are refused; else they are shown as far as they go, as version 1
/// of the pixels did. No side may exceed the first of `limits`, nor all pixels the second, bytes. With `turbo`,
/// libjpeg-turbo decodes what it can of what is asked for.
///
/// # Errors
/// What is wrong with the file, in words.
pub(super) fn decode(
    bytes: &mut Vec<u8>,
    pixels: &mut Vec<u8>,
    whole: bool,
    limits: (u32, u64),
    turbo: Option<Aim>,
) -> Result<Jpeg, String> {
    let mut oddity = None;
    let mut separate = false;
    let mut ones = false;
    if whole {
        let s = structure(bytes)?;
        // A progressive file may end early, and shows what it has.
        if !(s.refined() || s.ended && s.progressive) {
            return Err("it breaks off: some of its scans are missing".into());
        }
        oddity = (!s.ended).then_some(Oddity::NoEnd);
        bytes.truncate(s.end);
        bytes.extend(END);
        for stray in s.strays.into_iter().rev().filter(|r| r.end <= s.end) {
            oddity = oddity.or(Some(Oddity::Header));
            bytes.drain(stray);
        }
        separate = s.scans > 1 && (!s.progressive || s.restarts);
        // The decoder has to meet a marker behind the first of several scans.
        ones = !s.progressive || s.scans > 1;
    }
    // libjpeg-turbo complains of a scan that ends too early, and of ones behind it.
    if let Some(aim) = turbo {
        let h = header(bytes, whole, limits)?;
        if let Some(part) = by_turbo(bytes, pixels, h.side, aim) {
            return Ok(Jpeg {
                side: h.side,
                part,
                orientation: h.orientation,
                oddity,
            });
        }
    }
    if ones {
        bytes.truncate(bytes.len() - END.len());
        bytes.extend(ONES);
        bytes.extend(END);
    }
    let mut h = header(bytes, whole, limits)?;
    if separate {
        several_scans(bytes, pixels, limits.1)?;
    } else {
        // A whole image overwrites all that is left of the one before. What broke off stays black.
        if !whole {
            pixels.clear();
        }
        pixels.resize(h.size, 0);
        h.decoder.decode_into(pixels).map_err(|e| match whole {
            true => damaged(&e),
            false => e.to_string(),
        })?;
    }
    Ok(Jpeg {
        side: h.side,
        part: Decoded::all(h.side),
        orientation: h.orientation,
        oddity,
    })
}

/// Without the feature there is no libjpeg-turbo; `data.decoder = "turbo"` is refused before.
#[cfg(not(feature = "turbojpeg"))]
fn by_turbo(_: &[u8], _: &mut Vec<u8>, _: (usize, usize), _: Aim) -> Option<Decoded> {
    None
}

fn damaged(e: &dyn std::fmt::Display) -> String {
    format!("it breaks off or is damaged: {e}")
}

/// Decodes files that zune-jpeg (0.5.15) reads wrongly: ones of several scans that are not progressive, of which it
/// takes one of two rows of blocks where components differ in size, and ones of several scans with restart markers.
fn several_scans(bytes: &[u8], pixels: &mut Vec<u8>, memory: u64) -> Result<(), String> {
    let mut decoder = jpeg_decoder::Decoder::new(bytes);
    decoder.set_max_decoding_buffer_size(usize::try_from(memory).unwrap_or(usize::MAX));
    let found = decoder.decode().map_err(|e| damaged(&e))?;
    pixels.clear();
    match decoder.info().map(|i| i.pixel_format) {
        Some(jpeg_decoder::PixelFormat::RGB24) => pixels.extend(found),
        Some(jpeg_decoder::PixelFormat::L8) => pixels.extend(found.iter().flat_map(|v| [*v; 3])),
        other => {
            return Err(format!("several scans of pixels as {other:?} are not read"));
        }
    }
    Ok(())
}
