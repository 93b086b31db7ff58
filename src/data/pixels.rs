//! From an image file to a square of RGB bytes.
//!
//! Version 2 of the pixels, that of new runs: JPEGs by zune-jpeg in its strict mode (`data::jpeg`), other formats
//! by `image`; the largest centred square; brought to size by fast_image_resize's convolution with a triangle as wide
//! as the step (Pillow's and torchvision's antialiased bilinear), rounded to bytes after each axis; turned as EXIF
//! says. Version 1, that of runs whose configuration is of version 1 or 2: JPEGs as far as they go, `image`'s
//! triangle, which rounds once. The two differ by at most 2 of 255 levels where a file is whole and upright.

use super::jpeg::{self, Jpeg, Oddity};
use fast_image_resize::images::{CroppedImage, Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage, imageops};
use serde::{Deserialize, Serialize};
use std::io::Cursor;
use std::path::Path;
use std::time::{Duration, Instant};

/// Largest side and memory of one image: enough for any photograph, not for a decompression bomb.
const SIDE: u32 = 32_768;
const MEMORY: u64 = 1 << 30;

/// The newest version of the pixels.
pub const NEWEST: usize = 2;

/// What becomes of an alpha channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Alpha {
    /// It is dropped, as torchvision does: transparent pixels show their hidden colours.
    #[default]
    Drop,
    /// The image is laid on white.
    White,
}

/// What decodes JPEGs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decoder {
    /// zune-jpeg, which is always there.
    #[default]
    Zune,
    /// libjpeg-turbo (feature `turbojpeg`): somewhat faster, and much faster for large photos, which it decodes at a
    /// half, a quarter or an eighth of their size where that is enough. Its pixels differ: by 5 of 255 levels at most
    /// at full size, and more where it scales.
    Turbo,
}

impl Decoder {
    /// Why this build has no such decoder; none where it has.
    pub fn missing(self) -> Option<&'static str> {
        (self == Self::Turbo && cfg!(not(feature = "turbojpeg"))).then_some(
            "data.decoder = \"turbo\": this program was built without libjpeg-turbo; build it with `--features turbojpeg` \
             (it needs cmake, nasm and a C compiler), or leave the setting out",
        )
    }

    /// The crates that make pixels of files, with their versions.
    pub fn versions(self) -> String {
        let others = env!("AMCL_DECODERS");
        match self {
            Self::Zune => others.into(),
            Self::Turbo => format!("{}, {others}", env!("AMCL_TURBO")),
        }
    }
}

/// How files become pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Version of the pixels: 1 or 2.
    pub version: usize,
    /// Images are turned as their EXIF orientation says.
    pub exif: bool,
    /// What becomes of an alpha channel.
    pub alpha: Alpha,
    /// What decodes JPEGs.
    pub decoder: Decoder,
}

impl Default for Reading {
    fn default() -> Self {
        Self {
            version: NEWEST,
            exif: true,
            alpha: Alpha::Drop,
            decoder: Decoder::Zune,
        }
    }
}

/// What is worth knowing of an image that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// Width and height in the file.
    pub side: (u32, u32),
    /// It is not upright in its file.
    pub lies: bool,
    /// It has an alpha channel, ...
    pub alpha: bool,
    /// ... in which some pixel is not opaque.
    pub transparent: bool,
    /// What is odd about a JPEG.
    pub oddity: Option<Oddity>,
}

impl Facts {
    /// Of an image of which nothing else is worth knowing.
    pub(super) fn plain(side: (u32, u32)) -> Self {
        Self {
            side,
            lies: false,
            alpha: false,
            transparent: false,
            oddity: None,
        }
    }
}

/// Reads files one after the other. Its buffers are used again.
#[derive(Default)]
pub(super) struct Reader {
    /// How long the last image was decoded, and brought to size.
    pub(super) spent: [Duration; 2],
    file: Vec<u8>,
    pixels: Vec<u8>,
    square: Vec<u8>,
    resizer: Resizer,
}

impl Reader {
    /// Where the bytes of the next file belong.
    pub(super) fn file(&mut self) -> &mut Vec<u8> {
        &mut self.file
    }

    /// Decodes the file whose bytes were put into [`Reader::file`], as RGB, [size,size,3], into `out`. `path` has its
    /// name, which tells the format where its bytes do not.
    ///
    /// # Errors
    /// What is no whole image, in words.
    pub(super) fn decode(
        &mut self,
        path: &Path,
        how: Reading,
        size: u32,
        out: &mut [u8],
    ) -> Result<Facts, String> {
        let begin = Instant::now();
        let format = image::guess_format(&self.file)
            .or_else(|_| ImageFormat::from_path(path))
            .map_err(|e| e.to_string())?;
        let (mut facts, orientation) = match format {
            ImageFormat::Jpeg => self.jpeg(how, size)?,
            other => self.other(other, how.alpha)?,
        };
        let decoded = Instant::now();
        facts.lies = orientation != Orientation::NoTransforms;
        let turn = match how.exif {
            true => orientation,
            false => Orientation::NoTransforms,
        };
        let short = facts.side.0.min(facts.side.1);
        if short == 0 {
            return Err("it has no pixels".into());
        }
        let left = corner(facts.side, short, turn);
        if turn == Orientation::NoTransforms {
            square(&mut self.resizer, &self.pixels, facts.side, left, how, out)?;
        } else {
            self.square.clear();
            self.square.resize(out.len(), 0);
            let into = &mut self.square;
            square(&mut self.resizer, &self.pixels, facts.side, left, how, into)?;
            turned(&self.square, turn, size as usize, out);
        }
        self.spent = [decoded - begin, decoded.elapsed()];
        Ok(facts)
    }

    fn jpeg(&mut self, how: Reading, size: u32) -> Result<(Facts, Orientation), String> {
        let limits = (SIDE, MEMORY);
        let whole = how.version > 1;
        let turbo = (how.decoder == Decoder::Turbo).then_some(size);
        let Jpeg {
            side,
            orientation,
            oddity,
        } = jpeg::decode(&mut self.file, &mut self.pixels, whole, limits, turbo)?;
        let facts = Facts {
            side,
            lies: false,
            alpha: false,
            transparent: false,
            oddity,
        };
        Ok((facts, orientation))
    }

    fn other(&mut self, format: ImageFormat, alpha: Alpha) -> Result<(Facts, Orientation), String> {
        let mut limits = Limits::default();
        limits.max_image_width = Some(SIDE);
        limits.max_image_height = Some(SIDE);
        limits.max_alloc = Some(MEMORY);
        let mut reader = ImageReader::with_format(Cursor::new(&self.file), format);
        reader.limits(limits.clone());
        let mut decoder = reader.into_decoder().map_err(|e| e.to_string())?;
        let reserved = limits.reserve(decoder.total_bytes());
        reserved.map_err(|e| e.to_string())?;
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        let image = DynamicImage::from_decoder(decoder).map_err(|e| e.to_string())?;
        let has_alpha = image.color().has_alpha();
        let mut transparent = false;
        let (w, h) = (image.width(), image.height());
        if has_alpha {
            let rgba = image.to_rgba8();
            self.pixels.clear();
            for p in rgba.pixels() {
                let [r, g, b, a] = p.0;
                transparent |= a < u8::MAX;
                self.pixels.extend([r, g, b].map(|c| match alpha {
                    Alpha::Drop => c,
                    Alpha::White => on_white(c, a),
                }));
            }
        } else {
            self.pixels = image.into_rgb8().into_raw();
        }
        let facts = Facts {
            side: (w, h),
            lies: false,
            // A gif has no such channel, only a colour that may stand for none: it is always decoded with one.
            alpha: has_alpha && (transparent || format != ImageFormat::Gif),
            transparent,
            oddity: None,
        };
        Ok((facts, orientation))
    }
}

/// A colour with an opacity on white, rounded.
fn on_white(colour: u8, opacity: u8) -> u8 {
    let (c, a) = (u32::from(colour), u32::from(opacity));
    ((c * a + 255 * (255 - a) + 127) / 255) as u8
}

/// Does an orientation reverse the columns, and the rows, of the file?
fn reversed(turn: Orientation) -> [bool; 2] {
    match turn {
        Orientation::NoTransforms | Orientation::Rotate90FlipH => [false, false],
        Orientation::FlipHorizontal | Orientation::Rotate270 => [true, false],
        Orientation::FlipVertical | Orientation::Rotate90 => [false, true],
        Orientation::Rotate180 | Orientation::Rotate270FlipH => [true, true],
    }
}

/// Upper left corner, in the file, of the largest centred square of the turned image. Where a margin is odd the
/// square lies nearer to the beginning of the turned image.
fn corner((w, h): (u32, u32), short: u32, turn: Orientation) -> (u32, u32) {
    let [columns, rows] = reversed(turn);
    let at = |margin: u32, reversed: bool| match reversed {
        true => margin - margin / 2,
        false => margin / 2,
    };
    (at(w - short, columns), at(h - short, rows))
}

/// Cuts out the square at `corner` and brings it to the size of `out`.
fn square(
    resizer: &mut Resizer,
    pixels: &[u8],
    (w, h): (u32, u32),
    (x, y): (u32, u32),
    how: Reading,
    out: &mut [u8],
) -> Result<(), String> {
    let short = w.min(h);
    let size = (out.len() / 3).isqrt() as u32;
    if short == size {
        let rows = pixels.chunks_exact(3 * w as usize).skip(y as usize);
        for (out, row) in out.chunks_exact_mut(3 * size as usize).zip(rows) {
            out.copy_from_slice(&row[3 * x as usize..3 * (x + short) as usize]);
        }
        return Ok(());
    }
    if how.version == 1 {
        let whole = RgbImage::from_raw(w, h, pixels.to_vec()).ok_or("its size is wrong")?;
        let cut = imageops::crop_imm(&whole, x, y, short, short).to_image();
        let small = imageops::resize(&cut, size, size, imageops::FilterType::Triangle);
        out.copy_from_slice(&small);
        return Ok(());
    }
    let words = |e: &dyn std::fmt::Display| e.to_string();
    let whole = ImageRef::new(w, h, pixels, PixelType::U8x3).map_err(|e| words(&e))?;
    let cut = CroppedImage::new(&whole, x, y, short, short).map_err(|e| words(&e))?;
    let mut into = Image::from_slice_u8(size, size, out, PixelType::U8x3).map_err(|e| words(&e))?;
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    let done = resizer.resize(&cut, &mut into, &options);
    done.map_err(|e| words(&e))
}

/// A square [size,size,3], turned.
fn turned(square: &[u8], turn: Orientation, size: usize, out: &mut [u8]) {
    let [columns, rows] = reversed(turn);
    let transposed = matches!(
        turn,
        Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH
    );
    for (i, to) in out.chunks_exact_mut(3).enumerate() {
        let (mut x, mut y) = (i % size, i / size);
        if transposed {
            (x, y) = (y, x);
        }
        if columns {
            x = size - 1 - x;
        }
        if rows {
            y = size - 1 - y;
        }
        let from = 3 * (y * size + x);
        to.copy_from_slice(&square[from..from + 3]);
    }
}
