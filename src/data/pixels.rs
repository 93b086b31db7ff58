//! From an image file to RGB bytes: a square, or a rectangle of a known shorter side.
//!
//! Version 2 of the pixels, that of new runs: JPEGs by zune-jpeg in its strict mode (`data::jpeg`), other formats by
//! `image`; the largest centred square, or all of it (`data.stored`); brought to size by fast_image_resize's
//! convolution with a triangle as wide as the step (Pillow's and torchvision's antialiased bilinear), rounded to bytes
//! after each axis; turned as EXIF says. Version 1, that of runs whose configuration is of version 1 or 2: JPEGs as far
//! as they go, `image`'s triangle, which rounds once. The two differ by at most 2 of 255 levels where a file is whole
//! and upright.

use super::jpeg::{self, Aim, Decoded, Oddity};
use fast_image_resize::images::{TypedCroppedImage, TypedImage, TypedImageRef};
use fast_image_resize::pixels::{U8x3, U8x4};
use fast_image_resize::{FilterType, PixelTrait, ResizeAlg, ResizeOptions, Resizer};
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

/// What is kept of an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kept {
    /// The largest square in its middle.
    #[default]
    Square,
    /// All of it, its shorter side brought to the side that is asked for, as torchvision's `Resize` does. Of an image
    /// that is more than twice as long as wide the middle is kept, of two to one.
    ShortSide,
}

/// The longer side of an image that is kept, in shorter sides, at most.
const LONGEST: u32 = 2;

impl Kept {
    /// Height and width of the room that an image has. No image that is kept with this side needs more.
    pub fn room(self, side: usize) -> (usize, usize) {
        match self {
            Self::Square => (side, side),
            Self::ShortSide => (side, side.saturating_mul(LONGEST as usize)),
        }
    }

    /// Width and height of what is kept of an image, in its file and brought to size. Its longer side is rounded down,
    /// as torchvision's `Resize` does.
    fn sizes(self, (w, h): (u32, u32), side: u32) -> [(u32, u32); 2] {
        let short = w.min(h);
        let most = match self {
            Self::Square => short,
            Self::ShortSide => short.saturating_mul(LONGEST),
        };
        let cut = (w.min(most), h.min(most));
        let to = |length: u32| (u64::from(length) * u64::from(side) / u64::from(short)) as u32;
        [cut, (to(cut.0), to(cut.1))]
    }
}

impl std::fmt::Display for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Square => "square",
            Self::ShortSide => "short_side",
        })
    }
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
    /// at full size, by some more in the last row and column of an image, and where it scales.
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
    /// What is kept of an image.
    pub kept: Kept,
}

impl Default for Reading {
    fn default() -> Self {
        Self {
            version: NEWEST,
            exif: true,
            alpha: Alpha::Drop,
            decoder: Decoder::Zune,
            kept: Kept::Square,
        }
    }
}

/// What is worth knowing of an image that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// Width and height in the file.
    pub side: (u32, u32),
    /// Height and width of what is kept.
    pub kept: (usize, usize),
    /// It is longer than what is kept of it, which is not meant to be square.
    pub long: bool,
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
    pub(super) fn plain(side: (u32, u32), kept: (usize, usize)) -> Self {
        Self {
            side,
            kept,
            long: false,
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
    lying: Vec<u8>,
    tools: Tools,
}

/// What brings images to size, one after the other.
#[derive(Default)]
struct Tools {
    resizer: Resizer,
    /// An image of pixels of four bytes that was brought to size.
    four: Vec<u8>,
}

impl Reader {
    /// Where the bytes of the next file belong.
    pub(super) fn file(&mut self) -> &mut Vec<u8> {
        &mut self.file
    }

    /// Decodes the file whose bytes were put into [`Reader::file`], as RGB, rows, columns, into the beginning of `out`,
    /// which has the room of [`Kept::room`]; the rest becomes zeros. `path` has its name, which tells the format where
    /// its bytes do not.
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
        let (mut facts, orientation, decoded) = match format {
            ImageFormat::Jpeg => self.jpeg(how, size)?,
            other => self.other(other, how.alpha)?,
        };
        let ready = Instant::now();
        facts.lies = orientation != Orientation::NoTransforms;
        let turn = match how.exif {
            true => orientation,
            false => Orientation::NoTransforms,
        };
        if facts.side.0.min(facts.side.1) == 0 {
            return Err("it has no pixels".into());
        }
        let [in_file, to] = how.kept.sizes(facts.side, size);
        facts.long = how.kept != Kept::Square && in_file != facts.side;
        // A decoder may have made the image smaller, and no more than a part of it.
        let pair = |(a, b): (usize, usize)| (a as u32, b as u32);
        let (whole, from) = (pair(decoded.whole), pair(decoded.at));
        let [cut, _] = how.kept.sizes(whole, size);
        let (x, y) = corner(whole, cut, turn);
        let part = Part {
            corner: (x - from.0, y - from.1),
            cut,
            size: to,
        };
        let (w, h) = (to.0 as usize, to.1 as usize);
        facts.kept = match transposes(turn) {
            true => (w, h),
            false => (h, w),
        };
        let Some((out, rest)) = out.split_at_mut_checked(3 * w * h) else {
            return Err(format!("{w}x{h} pixels are too many"));
        };
        rest.fill(0);
        let pixels = (&self.pixels[..], decoded.bytes, pair(decoded.kept));
        if turn == Orientation::NoTransforms {
            part.bring(&mut self.tools, pixels, how.version, out)?;
        } else {
            self.lying.clear();
            self.lying.resize(out.len(), 0);
            part.bring(&mut self.tools, pixels, how.version, &mut self.lying)?;
            turned(&self.lying, turn, (w, h), out);
        }
        self.spent = [ready - begin, ready.elapsed()];
        Ok(facts)
    }

    fn jpeg(&mut self, how: Reading, size: u32) -> Result<(Facts, Orientation, Decoded), String> {
        let limits = (SIDE, MEMORY);
        let whole = how.version > 1;
        // Pixels of four bytes are brought to size in three quarters of the time.
        let turbo = (how.decoder == Decoder::Turbo).then_some(Aim {
            least: size,
            square: how.kept == Kept::Square,
            bytes: if whole { 4 } else { 3 },
        });
        let read = jpeg::decode(&mut self.file, &mut self.pixels, whole, limits, turbo)?;
        let facts = Facts {
            oddity: read.oddity,
            ..Facts::plain((read.side.0 as u32, read.side.1 as u32), (0, 0))
        };
        Ok((facts, read.orientation, read.part))
    }

    fn other(
        &mut self,
        format: ImageFormat,
        alpha: Alpha,
    ) -> Result<(Facts, Orientation, Decoded), String> {
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
            // A gif has no such channel, only a colour that may stand for none: it is always decoded with one.
            alpha: has_alpha && (transparent || format != ImageFormat::Gif),
            transparent,
            ..Facts::plain((w, h), (0, 0))
        };
        Ok((facts, orientation, Decoded::all((w as usize, h as usize))))
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

/// Does an orientation exchange rows and columns?
fn transposes(turn: Orientation) -> bool {
    matches!(
        turn,
        Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH
    )
}

/// Upper left corner, in the file, of the part in the middle of the turned image. Where a margin is odd the part lies
/// nearer to the beginning of the turned image.
fn corner((w, h): (u32, u32), cut: (u32, u32), turn: Orientation) -> (u32, u32) {
    let [columns, rows] = reversed(turn);
    let at = |margin: u32, reversed: bool| match reversed {
        true => margin - margin / 2,
        false => margin / 2,
    };
    (at(w - cut.0, columns), at(h - cut.1, rows))
}

/// What is kept of an image as it lies in its file.
#[derive(Clone, Copy)]
struct Part {
    /// Column and row of its upper left corner.
    corner: (u32, u32),
    /// Its width and height.
    cut: (u32, u32),
    /// Width and height to which it is brought.
    size: (u32, u32),
}

impl Part {
    /// Cuts it out of an image of sides `(w, h)`, whose pixels have so many bytes, and brings it to its size, that of
    /// `out`, whose pixels have three.
    fn bring(
        self,
        tools: &mut Tools,
        (pixels, bytes, (w, h)): (&[u8], usize, (u32, u32)),
        version: usize,
        out: &mut [u8],
    ) -> Result<(), String> {
        let Self { corner, cut, size } = self;
        let (x, y) = corner;
        if cut == size {
            let rows = pixels.chunks_exact(bytes * w as usize).skip(y as usize);
            for (out, row) in out.chunks_exact_mut(3 * size.0 as usize).zip(rows) {
                colours(&row[bytes * x as usize..], bytes, out);
            }
            return Ok(());
        }
        if version == 1 {
            let whole = RgbImage::from_raw(w, h, pixels.to_vec()).ok_or("its size is wrong")?;
            let cut = imageops::crop_imm(&whole, x, y, cut.0, cut.1).to_image();
            let small = imageops::resize(&cut, size.0, size.1, imageops::FilterType::Triangle);
            out.copy_from_slice(&small);
            return Ok(());
        }
        if bytes == 3 {
            return self.resize::<U8x3>(&mut tools.resizer, (pixels, (w, h)), out);
        }
        let four = &mut tools.four;
        four.resize(4 * size.0 as usize * size.1 as usize, 0);
        self.resize::<U8x4>(&mut tools.resizer, (pixels, (w, h)), four)?;
        colours(four, bytes, out);
        Ok(())
    }

    /// Cuts it out of an image and brings it to its size. A fourth byte is no alpha: the colours do not see it. Of one
    /// kind of pixels each: `Resizer::resize` would have all its thirteen kinds compiled, a fifth of this crate's code.
    fn resize<P: PixelTrait>(
        self,
        resizer: &mut Resizer,
        (pixels, (w, h)): (&[u8], (u32, u32)),
        out: &mut [u8],
    ) -> Result<(), String> {
        let Self { corner, cut, size } = self;
        let words = |e: &dyn std::fmt::Display| e.to_string();
        let whole = TypedImageRef::<P>::from_buffer(w, h, pixels).map_err(|e| words(&e))?;
        let cut = TypedCroppedImage::from_ref(&whole, corner.0, corner.1, cut.0, cut.1);
        let cut = cut.map_err(|e| words(&e))?;
        let into = TypedImage::<P>::from_buffer(size.0, size.1, out);
        let mut into = into.map_err(|e| words(&e))?;
        let options = ResizeOptions::new()
            .resize_alg(ResizeAlg::Convolution(FilterType::Bilinear))
            .use_alpha(false);
        let done = resizer.resize_typed(&cut, &mut into, &options);
        done.map_err(|e| words(&e))
    }
}

/// The colours of the first pixels, each of `bytes` bytes, as many as fill `out`.
fn colours(pixels: &[u8], bytes: usize, out: &mut [u8]) {
    if bytes == 3 {
        let n = out.len();
        out.copy_from_slice(&pixels[..n]);
        return;
    }
    for (to, from) in out.chunks_exact_mut(3).zip(pixels.chunks_exact(4)) {
        to.copy_from_slice(&from[..3]);
    }
}

/// An image of sides `(w, h)`, turned.
fn turned(lying: &[u8], turn: Orientation, (w, h): (usize, usize), out: &mut [u8]) {
    let [columns, rows] = reversed(turn);
    let transposed = transposes(turn);
    let width = if transposed { h } else { w };
    for (i, to) in out.chunks_exact_mut(3).enumerate() {
        let (mut x, mut y) = (i % width, i / width);
        if transposed {
            (x, y) = (y, x);
        }
        if columns {
            x = w - 1 - x;
        }
        if rows {
            y = h - 1 - y;
        }
        let from = 3 * (y * w + x);
        to.copy_from_slice(&lying[from..from + 3]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fourth_byte_changes_no_colour() {
        let (w, h) = (61u32, 47u32);
        let mut seed = 1u32;
        let mut byte = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 24) as u8
        };
        let four: Vec<u8> = (0..4 * w * h).map(|_| byte()).collect();
        let mut three = vec![0; (3 * w * h) as usize];
        colours(&four, 4, &mut three);
        for (corner, cut, size) in [
            ((5, 3), (40, 40), (16, 16)),
            ((0, 0), (61, 47), (64, 50)),
            ((7, 2), (40, 44), (40, 44)),
        ] {
            let part = Part { corner, cut, size };
            let bring = |pixels: &[u8], bytes| {
                let mut out = vec![0; (3 * size.0 * size.1) as usize];
                let pixels = (pixels, bytes, (w, h));
                part.bring(&mut Tools::default(), pixels, 2, &mut out)
                    .unwrap();
                out
            };
            assert_eq!(bring(&four, 4), bring(&three, 3), "{size:?}");
            // The control: a colour of the first pixel that is kept.
            let mut other = four.clone();
            let first = &mut other[4 * (corner.1 * w + corner.0) as usize];
            *first = !*first;
            assert_ne!(bring(&other, 4), bring(&three, 3), "{size:?}");
        }
    }
}
