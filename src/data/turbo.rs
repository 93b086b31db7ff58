//! libjpeg-turbo (feature `turbojpeg`), by its C interface: the safe crate around it does not offer to decode only a
//! part of an image.

use super::jpeg::{Aim, Decoded};
use std::cell::Cell;
use std::ffi::c_int;
use std::ptr::NonNull;
use turbojpeg::raw;

/// Columns and rows around the square that are decoded too. Where colours have half the resolution, the outermost two
/// columns of what is decoded are made without their neighbours beyond it; and of an odd margin the square takes
/// either half, as the image is turned.
const MARGIN: usize = 3;

thread_local! {
    /// The thread's decoder. What failed leaves none: its state is then not relied on.
    static DECODER: Cell<Option<Decoder>> = const { Cell::new(None) };
}

/// A decoder of libjpeg-turbo.
struct Decoder(NonNull<std::ffi::c_void>);

impl Decoder {
    fn new() -> Option<Self> {
        // SAFETY: the call takes no pointer; a null pointer is what it gives where it fails.
        let handle = unsafe { raw::tj3Init(raw::TJINIT_TJINIT_DECOMPRESS as c_int) };
        NonNull::new(handle).map(Self)
    }

    fn get(&self, parameter: raw::TJPARAM) -> c_int {
        // SAFETY: the handle is alive as long as `self`.
        unsafe { raw::tj3Get(self.0.as_ptr(), parameter as c_int) }
    }

    /// Width and height, and columns of a block of the file's grid.
    fn header(&mut self, bytes: &[u8]) -> Option<((usize, usize), usize)> {
        // SAFETY: the handle is alive, and the pointer is valid for so many bytes, which are only read in the call.
        let read = unsafe {
            raw::tj3DecompressHeader(self.0.as_ptr(), bytes.as_ptr(), bytes.len() as raw::size_t)
        };
        if read != 0 {
            return None;
        }
        let width = usize::try_from(self.get(raw::TJPARAM_TJPARAM_JPEGWIDTH)).ok()?;
        let height = usize::try_from(self.get(raw::TJPARAM_TJPARAM_JPEGHEIGHT)).ok()?;
        let block = match self.get(raw::TJPARAM_TJPARAM_SUBSAMP) {
            raw::TJSAMP_TJSAMP_422 | raw::TJSAMP_TJSAMP_420 => 16,
            raw::TJSAMP_TJSAMP_411 => 32,
            raw::TJSAMP_TJSAMP_UNKNOWN => return None,
            _ => 8,
        };
        Some(((width, height), block))
    }

    /// Decodes what `part` says, of the image at 1/`by` of its size, to RGB, or where a pixel has four bytes to RGB and
    /// one without a meaning.
    fn decode(
        &mut self,
        bytes: &[u8],
        pixels: &mut Vec<u8>,
        part: &Decoded,
        by: usize,
    ) -> Option<()> {
        let number = |v: usize| c_int::try_from(v).ok();
        let factor = raw::tjscalingfactor {
            num: 1,
            denom: number(by)?,
        };
        let region = raw::tjregion {
            x: number(part.at.0)?,
            y: number(part.at.1)?,
            w: number(part.kept.0)?,
            h: number(part.kept.1)?,
        };
        let row = part.bytes * part.kept.0;
        let format = match part.bytes {
            3 => raw::TJPF_TJPF_RGB,
            4 => raw::TJPF_TJPF_RGBX,
            _ => return None,
        };
        pixels.resize(row * part.kept.1, 0);
        // SAFETY: the handle is alive. The region, once it is accepted, fixes what is written: `kept.1` rows of
        // `kept.0` pixels of `part.bytes` bytes, `row` bytes apart, which is the length of `pixels`. The header that is
        // read again in the last call is that of the same bytes, to whose size the region was held.
        let done = unsafe {
            let handle = self.0.as_ptr();
            raw::tj3SetScalingFactor(handle, factor) == 0
                && raw::tj3SetCroppingRegion(handle, region) == 0
                && raw::tj3Decompress8(
                    handle,
                    bytes.as_ptr(),
                    bytes.len() as raw::size_t,
                    pixels.as_mut_ptr(),
                    number(row)?,
                    format as c_int,
                ) == 0
        };
        done.then_some(())
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        // SAFETY: the handle is alive and is not used again.
        unsafe { raw::tj3Destroy(self.0.as_ptr()) }
    }
}

/// Decodes an image of `side` at the smallest of 1/1, 1/2, 1/4 and 1/8 whose shorter side is not under `least`: with
/// `square` the centred square with what lies around it up to the file's grid, else all of it. None for what is not
/// read to its end without a complaint: other colours than grey, RGB and YCbCr, damage. The other decoder then says
/// what is wrong, or reads it.
pub(super) fn decode(
    bytes: &[u8],
    pixels: &mut Vec<u8>,
    side: (usize, usize),
    Aim {
        least,
        square,
        bytes: pixel,
    }: Aim,
) -> Option<Decoded> {
    let mut decoder = DECODER.take().or_else(Decoder::new)?;
    let (found, block) = decoder.header(bytes)?;
    if found != side {
        return None;
    }
    let fits = |n: &usize| side.0.min(side.1).div_ceil(*n) >= least as usize;
    let by = [8, 4, 2].into_iter().find(fits).unwrap_or(1);
    let whole = (side.0.div_ceil(by), side.1.div_ceil(by));
    let part = match square {
        true => around(whole, block.div_ceil(by)),
        false => Decoded::all(whole),
    };
    let part = Decoded {
        bytes: pixel,
        ..part
    };
    decoder.decode(bytes, pixels, &part, by)?;
    DECODER.set(Some(decoder));
    Some(part)
}

/// The part of an image of `whole` that is decoded for its centred square: whole blocks to the left, and all rows below
/// it. Rows above are skipped, but their codes are read; those below would not be, and damage there not be seen.
fn around(whole: (usize, usize), block: usize) -> Decoded {
    let short = whole.0.min(whole.1);
    let x = ((whole.0 - short) / 2).saturating_sub(MARGIN) / block * block;
    let y = ((whole.1 - short) / 2).saturating_sub(MARGIN);
    let end = ((whole.0 - short).div_ceil(2) + short + MARGIN).min(whole.0);
    Decoded {
        at: (x, y),
        kept: (end - x, whole.1 - y),
        ..Decoded::all(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::RgbImage;
    use jpeg_encoder::{ColorType, Encoder, SamplingFactor};

    fn file((w, h): (u16, u16), colour: SamplingFactor) -> Vec<u8> {
        let image = RgbImage::from_fn(w.into(), h.into(), |x, y| {
            image::Rgb([x * 7 + y, x ^ y, x * y].map(|v| v as u8))
        });
        let mut out = Vec::new();
        let mut e = Encoder::new(&mut out, 90);
        e.set_sampling_factor(colour);
        e.encode(&image, w, h, ColorType::Rgb).unwrap();
        out
    }

    fn square(least: u32) -> Aim {
        Aim {
            least,
            square: true,
            bytes: 4,
        }
    }

    #[test]
    fn a_part_of_an_image_is_the_image_there() {
        use SamplingFactor::{F_1_1, F_1_2, F_2_1, F_2_2, F_4_1};
        for side in [
            (150, 81),
            (81, 150),
            (64, 64),
            (131, 130),
            (400, 33),
            (9, 200),
        ] {
            for colour in [F_1_1, F_1_2, F_2_1, F_2_2, F_4_1] {
                for least in [100, 16, 5] {
                    let bytes = file(side, colour);
                    let side = (usize::from(side.0), usize::from(side.1));
                    let mut pixels = Vec::new();
                    let part = super::decode(&bytes, &mut pixels, side, square(least)).unwrap();
                    let mut all = Vec::new();
                    let by = side.0.div_ceil(part.whole.0).next_power_of_two();
                    // Of three bytes, beside pixels of four.
                    let everything = Decoded::all(part.whole);
                    let mut decoder = Decoder::new().unwrap();
                    decoder.header(&bytes).unwrap();
                    decoder.decode(&bytes, &mut all, &everything, by).unwrap();
                    let (w, h) = part.whole;
                    let short = w.min(h);
                    let (left, top) = ((w - short) / 2, (h - short) / 2);
                    // Both halves of an odd margin.
                    let (right, bottom) = (w - left, h - top);
                    let of = |pixels: &[u8], each: usize, row: usize, x: usize, y: usize| {
                        let at = each * (y * row + x);
                        pixels[at..at + 3].to_vec()
                    };
                    let mut differ = 0;
                    for y in top..bottom {
                        for x in left..right {
                            let got = of(&pixels, 4, part.kept.0, x - part.at.0, y - part.at.1);
                            assert_eq!(
                                got,
                                of(&all, 3, w, x, y),
                                "{side:?} {colour:?} {least} {x} {y}"
                            );
                            // The control: the pixel beside it is another.
                            differ += usize::from(got != of(&all, 3, w, (x + 1) % w, y));
                        }
                    }
                    assert!(2 * differ > short * short, "{differ} {short}");
                }
            }
        }
    }

    #[test]
    fn what_is_damaged_is_left_to_the_other_decoder() {
        let bytes = file((90, 200), SamplingFactor::F_2_2);
        let mut pixels = Vec::new();
        assert!(super::decode(&bytes, &mut pixels, (90, 200), square(90)).is_some());
        // Cut far below the square, and in the header.
        for percent in [97, 50, 1] {
            let cut = &bytes[..bytes.len() * percent / 100];
            let broken = [cut, &[0xFF, 0xD9]].concat();
            assert!(
                super::decode(&broken, &mut pixels, (90, 200), square(90)).is_none(),
                "{percent}"
            );
        }
        assert!(super::decode(b"not a jpeg", &mut pixels, (90, 200), square(90)).is_none());
        assert!(super::decode(&bytes, &mut pixels, (200, 90), square(90)).is_none());
        // And the next one is read.
        assert!(super::decode(&bytes, &mut pixels, (90, 200), square(90)).is_some());
    }
}
