//! From image files to pixels: files that broke off, orientation, alpha channels, kinds of colour, and the two versions
//! of the pixels.

use crate::common::images;

use amcl_wgpu::data::{Alpha, Decoder, Kept, Reading};
use image::{DynamicImage, ImageFormat, Luma, LumaA, Rgb, RgbImage, Rgba, metadata::Orientation};
use images::open_as;
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};

pub(crate) const NEW: Reading = Reading {
    version: 2,
    exif: true,
    alpha: Alpha::Drop,
    decoder: Decoder::Zune,
    kept: Kept::Square,
};
const OLD: Reading = Reading {
    version: 1,
    exif: false,
    alpha: Alpha::Drop,
    decoder: Decoder::Zune,
    kept: Kept::Square,
};

/// A folder with these files and nothing else.
pub(crate) fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        std::fs::write(dir.path().join(name), bytes).unwrap();
    }
    dir
}

/// The pixels of one file alone, and what is said of it.
pub(crate) fn read(name: &str, bytes: &[u8], size: usize, how: Reading) -> (Vec<u8>, Vec<String>) {
    let dir = folder(&[(name, bytes)]);
    let s = open_as(dir.path(), size, how).unwrap();
    (s.train.images, s.warnings)
}

/// Waves and noise, as photographs have them: of every 16x16 block something is left after JPEG's quantisation.
pub(crate) fn photo(w: u32, h: u32) -> RgbImage {
    let mut state = 1u32;
    RgbImage::from_fn(w, h, |x, y| {
        let mut noise = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state >> 24) / 8.0
        };
        let wave = |a: f64, b: f64| 100.0 + 70.0 * (f64::from(x) / a + f64::from(y) / b).sin();
        Rgb([wave(9.0, 31.0), wave(23.0, 7.0), wave(50.0, 40.0)].map(|v| (v + noise()) as u8))
    })
}

/// The kinds of JPEG files that there are: progressive or not, with full or a quarter of the colour, with tables of
/// their own, with restarts, grey.
#[derive(Clone, Copy, Default)]
pub(crate) struct Kind {
    pub(crate) progressive: bool,
    pub(crate) quarter: bool,
    optimised: bool,
    restarts: bool,
    pub(crate) grey: bool,
}

pub(crate) fn jpeg(image: &RgbImage, kind: Kind) -> Vec<u8> {
    let mut out = Vec::new();
    let mut e = Encoder::new(&mut out, 90);
    e.set_sampling_factor(match kind.quarter {
        true => SamplingFactor::F_2_2,
        false => SamplingFactor::F_1_1,
    });
    e.set_progressive(kind.progressive);
    e.set_optimized_huffman_tables(kind.optimised);
    if kind.restarts {
        e.set_restart_interval(7);
    }
    let (w, h) = (image.width() as u16, image.height() as u16);
    if kind.grey {
        let grey = DynamicImage::from(image.clone()).into_luma8();
        e.encode(&grey, w, h, ColorType::Luma).unwrap();
    } else {
        e.encode(image, w, h, ColorType::Rgb).unwrap();
    }
    out
}

pub(crate) fn kinds() -> Vec<Kind> {
    let of = |bits: u32| Kind {
        progressive: bits & 1 > 0,
        quarter: bits & 2 > 0,
        optimised: bits & 4 > 0,
        restarts: bits & 8 > 0,
        grey: bits & 16 > 0,
    };
    // The encoder makes no codes for what restarts bring, so that its own tables do not fit those.
    let fit = |k: &Kind| !(k.optimised && k.restarts);
    (0..32).map(of).filter(fit).collect()
}

#[test]
fn every_kind_of_jpeg_shows_the_same_image() {
    // Smooth, so that a quarter of the colour loses little.
    let image = RgbImage::from_fn(90, 70, |x, y| Rgb([2 * x, 3 * y, x + y].map(|v| v as u8)));
    let grey = DynamicImage::from(image.clone()).into_luma8();
    let grey = DynamicImage::from(grey).into_rgb8();
    for (number, kind) in kinds().into_iter().enumerate() {
        println!("kind {number}");
        let original = if kind.grey { &grey } else { &image };
        let plain = encoded(&original.clone().into(), ImageFormat::Png);
        let want = read("a.png", &plain, 70, NEW).0;
        let got = read("a.jpg", &jpeg(&image, kind), 70, NEW).0;
        // Quality 90 quantises coefficients by 3 to 20: a few levels a pixel. The two greys weigh colours otherwise.
        let bound = if kind.grey { 25.0 } else { 3.0 };
        let (_, mean) = apart(&got, &want);
        assert!(mean < bound, "kind {number}: {mean}");
        // The control: the same image upside down.
        let (_, mean) = apart(&got, &want.iter().rev().copied().collect::<Vec<u8>>());
        assert!(mean > 2.0 * bound, "kind {number}: {mean}");
    }
}

/// Where a file's pixels begin: behind the header of its first scan.
pub(crate) fn first_scan(bytes: &[u8]) -> usize {
    let at = bytes.windows(2).position(|w| w == [0xFF, 0xDA]).unwrap();
    at + 2 + usize::from(bytes[at + 3])
}

#[test]
fn jpegs_that_break_off_are_named_and_left_out() {
    let image = photo(90, 70);
    for (number, kind) in kinds().into_iter().enumerate() {
        println!("kind {number}");
        let whole = jpeg(&image, kind);
        let begin = first_scan(&whole);
        let cut = |percent: usize| whole[..begin + (whole.len() - begin) * percent / 100].to_vec();
        let mut files = vec![("whole.jpg".to_string(), whole.clone())];
        for percent in [0, 5, 33, 50, 75, 95] {
            files.push((format!("{percent}.jpg"), cut(percent)));
            // The rest was reserved on the disk and never written.
            let mut zeros = cut(percent);
            zeros.resize(whole.len(), 0);
            files.push((format!("{percent}-zeros.jpg"), zeros));
            // An end marker put behind it does not make a file whole. In a progressive file it does: what the
            // missing scans would refine is shown as it is, as the format has it.
            if !kind.progressive {
                files.push((
                    format!("{percent}-end.jpg"),
                    [cut(percent), vec![0xFF, 0xD9]].concat(),
                ));
            }
        }
        files.push(("header.jpg".into(), whole[..begin - 20].to_vec()));
        let listed: Vec<(&str, &[u8])> = files.iter().map(|(n, b)| (&**n, &**b)).collect();
        let dir = folder(&listed);
        let s = open_as(dir.path(), 32, NEW).unwrap();
        assert_eq!(s.train.names, ["whole.jpg"], "kind {number}");
        let counted = format!(
            "{} of {} files could not be decoded",
            files.len() - 1,
            files.len()
        );
        assert!(
            s.warnings.contains(&counted),
            "kind {number}: {:?}",
            s.warnings
        );
        let named = |w: &&String| w.starts_with("left out: ") && w.contains(".jpg: it breaks off");
        assert_eq!(
            s.warnings.iter().filter(named).count(),
            10,
            "{:?}",
            s.warnings
        );
        // The control: the first version showed most of them with a grey rest.
        let s = open_as(dir.path(), 32, OLD).unwrap();
        assert!(s.train.len() > 5, "kind {number}: {:?}", s.train.names);
    }
}

#[test]
fn bad_data_amid_a_jpeg_are_an_error() {
    for kind in kinds()
        .into_iter()
        .filter(|k| !k.progressive && !k.restarts)
    {
        let mut bytes = jpeg(&photo(90, 70), kind);
        let whole = bytes.clone();
        let middle = (first_scan(&bytes) + bytes.len()) / 2;
        // Stuffed ones: no code of theirs is long enough.
        for pair in bytes[middle..middle + 32].chunks_exact_mut(2) {
            pair.copy_from_slice(&[0xFF, 0]);
        }
        let dir = folder(&[("bad.jpg", &bytes), ("whole.jpg", &whole)]);
        let s = open_as(dir.path(), 32, NEW).unwrap();
        assert_eq!(s.train.names, ["whole.jpg"]);
        assert!(
            s.warnings[0].contains("bad.jpg: it breaks off or is damaged"),
            "{:?}",
            s.warnings
        );
    }
}

#[test]
fn an_odd_header_and_a_missing_end_are_a_note() {
    for (number, kind) in kinds().into_iter().enumerate() {
        println!("kind {number}");
        let whole = jpeg(&photo(90, 70), kind);
        let (want, said) = read("a.jpg", &whole, 32, NEW);
        assert_eq!(said, [""; 0]);
        let note = |bytes: &[u8], what: &str| {
            let (got, said) = read("a.jpg", bytes, 32, NEW);
            assert_eq!(got, want, "{what}");
            assert_eq!(said.len(), 1, "{said:?}");
            assert!(
                said[0].contains(what) && said[0].contains("pixels are whole"),
                "{said:?}"
            );
        };
        note(&whole[..whole.len() - 2], "lack the end marker");
        // Behind the first segment, which begins behind two bytes.
        let behind = 4 + usize::from(u16::from_be_bytes([whole[4], whole[5]]));
        let stray = [&whole[..behind], &[7; 9], &whole[behind..]].concat();
        note(&stray, "bytes in the header");
        // What is no fault: filling before a marker, bytes behind the end, an end marker inside a segment.
        let filled = [&whole[..behind], &[0xFF; 3], &whole[behind..]].concat();
        let behind_end = [&whole[..], b"MPF and so on \xff\xd8\xff\xd9"].concat();
        let thumbnail = [0xFF, 0xE3, 0, 8, 0xFF, 0xD8, 0xFF, 0xDA, 0xFF, 0xD9];
        let inside = [&whole[..2], &thumbnail, &whole[2..]].concat();
        for bytes in [filled, behind_end, inside] {
            assert_eq!(read("a.jpg", &bytes, 32, NEW), (want.clone(), Vec::new()));
        }
    }
}

/// An EXIF block with nothing but an orientation, in either order of bytes.
fn exif(orientation: u8, big: bool) -> Vec<u8> {
    let ordered = |mut bytes: Vec<u8>| {
        if !big {
            bytes.reverse();
        }
        bytes
    };
    let word = |v: u16| ordered(v.to_be_bytes().into());
    let long = |v: u32| ordered(v.to_be_bytes().into());
    let mark: &[u8] = if big { b"MM" } else { b"II" };
    // One entry: tag 0x112, a SHORT, one value, which stands in the first two of four bytes.
    let entry = [
        word(0x112),
        word(3),
        long(1),
        word(orientation.into()),
        word(0),
    ]
    .concat();
    [mark.to_vec(), word(42), long(8), word(1), entry, long(0)].concat()
}

/// A JPEG whose EXIF block says this.
pub(crate) fn turned(image: &RgbImage, orientation: u8) -> Vec<u8> {
    let mut out = Vec::new();
    let mut e = Encoder::new(&mut out, 100);
    e.set_sampling_factor(SamplingFactor::F_1_1);
    e.add_exif_metadata(&exif(orientation, orientation.is_multiple_of(2)))
        .unwrap();
    e.encode(
        image,
        image.width() as u16,
        image.height() as u16,
        ColorType::Rgb,
    )
    .unwrap();
    out
}

/// Largest and mean difference of two images.
pub(crate) fn apart(a: &[u8], b: &[u8]) -> (u8, f64) {
    assert_eq!(a.len(), b.len());
    let each = || a.iter().zip(b).map(|(a, b)| a.abs_diff(*b));
    let sum: f64 = each().map(f64::from).sum();
    (each().max().unwrap(), sum / a.len() as f64)
}

#[test]
fn images_are_turned_upright() {
    let short = Reading {
        kept: Kept::ShortSide,
        ..NEW
    };
    upright(45, NEW);
    upright(45, short);
    // The middle is kept, 64 of 75 columns.
    upright(75, short);
}

/// Images of 32 rows and so many columns, read at a side of 32.
fn upright(columns: u32, how: Reading) {
    // No two of its eight positions are alike; odd margins at both sides of what is kept.
    let upright = RgbImage::from_fn(columns, 32, |x, y| match (x < 16, y < 11) {
        (true, true) => Rgb([230, 20, 20]),
        (true, false) => Rgb([20, 230, 20]),
        (false, true) => Rgb([20, 20, 230]),
        (false, false) => Rgb([128; 3]),
    });
    let read = |file: &[u8], how: Reading| {
        let (pixels, mut said) = read("a.jpg", file, 32, how);
        let before = said.len();
        said.retain(|s| !s.contains("more than twice as long as wide"));
        assert_eq!(before > said.len(), columns > 64, "{said:?}");
        (pixels, said)
    };
    let as_it_lies = Reading { exif: false, ..how };
    let (want, said) = read(&turned(&upright, 1), how);
    assert_eq!(
        said, [""; 0],
        "an upright file with EXIF data is nothing to tell of"
    );
    for orientation in 2..=8 {
        // What is turned back in the file lies so.
        let back = match Orientation::from_exif(orientation).unwrap() {
            Orientation::Rotate90 => Orientation::Rotate270,
            Orientation::Rotate270 => Orientation::Rotate90,
            itself => itself,
        };
        let mut lying = DynamicImage::from(upright.clone());
        lying.apply_orientation(back);
        let file = turned(&lying.into_rgb8(), orientation);
        // Two encodings of quality 100 of pixels in another order: a level or two at edges of the blocks' grid.
        let (got, said) = read(&file, how);
        let (most, mean) = apart(&got, &want);
        assert!(most < 30 && mean < 1.0, "{orientation}: {most} {mean}");
        assert!(
            said.len() == 1 && said[0].contains("turned as EXIF says"),
            "{said:?}"
        );
        // The control: as it lies it is another image, and that is said too.
        let (got, said) = read(&file, as_it_lies);
        let (most, mean) = apart(&got, &want);
        assert!(most > 100 && mean > 10.0, "{orientation}: {most} {mean}");
        assert!(
            said.len() == 1 && said[0].contains("data.exif is false"),
            "{said:?}"
        );
    }
    // An EXIF block that is none, and an orientation that there is not, turn nothing.
    for orientation in [0, 9] {
        let (got, said) = read(&turned(&upright, orientation), how);
        assert_eq!((got, said), (want.clone(), Vec::new()));
    }
}

pub(crate) fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut out = std::io::Cursor::new(Vec::new());
    image.write_to(&mut out, format).unwrap();
    out.into_inner()
}

#[test]
fn alpha_channels_are_counted_and_dropped_or_laid_on_white() {
    // Left half opaque, right half: a hidden red, of which a fifth shows.
    let half = |x: u32| {
        if x < 4 {
            [10, 20, 30, 255]
        } else {
            [200, 0, 0, 51]
        }
    };
    let rgba = DynamicImage::from(image::RgbaImage::from_fn(8, 8, |x, _| Rgba(half(x))));
    let grey = image::GrayAlphaImage::from_fn(8, 8, |x, _| LumaA([100, half(x)[3]]));
    let opaque = DynamicImage::from(photo(8, 8)).into_rgba8();
    let (rgba, grey) = (
        encoded(&rgba, ImageFormat::Png),
        encoded(&grey.into(), ImageFormat::Png),
    );
    let opaque = encoded(&opaque.into(), ImageFormat::WebP);
    let plain = encoded(&photo(8, 8).into(), ImageFormat::Png);
    let files: [(&str, &[u8]); 4] = [
        ("a.png", &rgba),
        ("b.png", &grey),
        ("c.webp", &opaque),
        ("d.png", &plain),
    ];
    let dir = folder(&files);
    for (alpha, red, level, said) in [
        (Alpha::Drop, [200, 0, 0], 100, "hidden colours"),
        // A fifth of the colour and four fifths of white.
        (Alpha::White, [244, 204, 204], 224, "laid on white"),
    ] {
        let s = open_as(dir.path(), 8, Reading { alpha, ..NEW }).unwrap();
        assert_eq!(s.train.image(0).unwrap()[..3], [10, 20, 30]);
        assert_eq!(s.train.image(0).unwrap()[21..24], red);
        assert_eq!(s.train.image(1).unwrap()[21..24], [level; 3]);
        assert_eq!(
            s.train.image(2).unwrap(),
            s.train.image(3).unwrap(),
            "an opaque image stays as it is"
        );
        assert_eq!(s.warnings.len(), 1, "{:?}", s.warnings);
        let line = &s.warnings[0];
        assert!(
            line.contains("3 of 4 images have an alpha channel (a.png, b.png, c.webp)"),
            "{line}"
        );
        assert!(
            line.contains("2 with transparent pixels") && line.contains(said),
            "{line}"
        );
    }
}

#[test]
fn every_kind_of_colour_becomes_rgb() {
    const COLOUR: [u8; 3] = [200, 100, 50];
    let rgb = RgbImage::from_pixel(16, 16, Rgb(COLOUR));
    let of = |image: DynamicImage| encoded(&image, ImageFormat::Png);
    let deep = COLOUR.map(|v| u16::from(v) * 257);
    let lossless = [
        of(rgb.clone().into()),
        of(image::ImageBuffer::from_pixel(16, 16, Rgb(deep)).into()),
    ];
    for bytes in lossless {
        assert_eq!(read("a.png", &bytes, 16, NEW).0[..3], COLOUR);
    }
    let grey = image::ImageBuffer::<Luma<u16>, _>::from_pixel(16, 16, Luma([100 * 257]));
    assert_eq!(read("a.png", &of(grey.into()), 16, NEW).0[..3], [100; 3]);
    // An image of one colour has in its blocks one coefficient, which quality 90 rounds by at most 3 of 8 x 255, and
    // the change of colours rounds to whole levels: some 2 levels in all.
    let near = |bytes: &[u8], want: [u8; 3]| {
        let got = read("a.jpg", bytes, 16, NEW).0;
        assert!(apart(&got[..3], &want).0 <= 3, "{:?} {want:?}", &got[..3]);
    };
    for kind in kinds() {
        // The weights of ITU-R BT.601: 0.299 x 200 + 0.587 x 100 + 0.114 x 50; the encoder's grey is BT.709's.
        let luma = DynamicImage::from(rgb.clone())
            .into_luma8()
            .get_pixel(0, 0)
            .0[0];
        near(
            &jpeg(&rgb, kind),
            if kind.grey { [luma; 3] } else { COLOUR },
        );
    }
    // No ink but cyan 55, magenta 155, yellow 205: red is 255 - 55.
    let cmyk = [55u8, 155, 205, 0].repeat(16 * 16);
    for kind in [ColorType::Cmyk, ColorType::CmykAsYcck] {
        let mut out = Vec::new();
        Encoder::new(&mut out, 90)
            .encode(&cmyk, 16, 16, kind)
            .unwrap();
        near(&out, COLOUR);
    }
    // Colours by number, the second of two; and the same with half of it transparent.
    let [whole, half] = [None, Some(128)].map(|alpha| palette(COLOUR, alpha));
    assert_eq!(read("a.png", &whole, 16, NEW).0[..3], COLOUR);
    let (pixels, said) = read("a.png", &half, 16, NEW);
    assert_eq!((&pixels[..3], said.len()), (&COLOUR[..], 1), "{said:?}");
}

/// A PNG of 16x16 pixels of colour number 1, which may be transparent.
fn palette(colour: [u8; 3], alpha: Option<u8>) -> Vec<u8> {
    let chunk = |name: &[u8; 4], data: &[u8]| {
        let named = [name, data].concat();
        let mut crc = flate2::Crc::new();
        crc.update(&named);
        let length = (data.len() as u32).to_be_bytes();
        [&length[..], &named, &crc.sum().to_be_bytes()].concat()
    };
    let rows = [&[0u8][..], &[1; 16]].concat().repeat(16);
    let mut z = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut z, &rows).unwrap();
    let size = [0, 0, 0, 16, 0, 0, 0, 16, 8, 3, 0, 0, 0];
    let mut out = [b"\x89PNG\r\n\x1a\n", &*chunk(b"IHDR", &size)].concat();
    out.extend(chunk(b"PLTE", &[&[0; 3][..], &colour].concat()));
    if let Some(a) = alpha {
        out.extend(chunk(b"tRNS", &[255, a]));
    }
    out.extend(chunk(b"IDAT", &z.finish().unwrap()));
    out.extend(chunk(b"IEND", &[]));
    out
}

/// Largest difference of the two versions. Version 2 rounds after each of two axes: the first rounding is off by 1/2,
/// and weights that sum to 1 carry at most that into the second, which adds 1/2; its weights have 14 binary digits or
/// more, which at windows of up to 60 pixels adds 60 x 255 x 2^-15, a half. Version 1 rounds once: 1/2. In all 2.
const BOUND: u8 = 2;

#[test]
fn the_two_versions_of_the_pixels_are_alike() {
    for (w, h, size) in [
        (500, 375, 256),
        (375, 500, 224),
        (97, 31, 32),
        (40, 41, 96),
        (601, 600, 20),
    ] {
        let file = encoded(&photo(w, h).into(), ImageFormat::Png);
        let new = read("a.png", &file, size, NEW).0;
        let old = read("a.png", &file, size, OLD).0;
        let (most, mean) = apart(&new, &old);
        // Roundings fall to both sides alike: on average a third of the bound is plenty.
        assert!(
            most <= BOUND && mean < 0.7,
            "{w}x{h} to {size}: {most} {mean}"
        );
        // The control: a triangle that is not as wide as the step, and one that is shifted by a pixel.
        let image = photo(w, h);
        let side = w.min(h);
        let other = |x: u32| {
            let cut = image::imageops::crop_imm(&image, x, (h - side) / 2, side, side).to_image();
            let n = size as u32;
            RgbImage::from_fn(n, n, |i, j| {
                let at = |k: u32| (2 * k + 1) * side / (2 * n);
                *cut.get_pixel(at(i), at(j))
            })
        };
        let (most, mean) = apart(&new, &other((w - side) / 2));
        assert!(
            most > 3 * BOUND && mean > 0.7,
            "{w}x{h} to {size}: {most} {mean}"
        );
    }
    // Of the side that is kept, nothing is resized: the pixels are the file's.
    let image = photo(48, 32);
    let file = encoded(&image.clone().into(), ImageFormat::Png);
    let want = image::imageops::crop_imm(&image, 8, 0, 32, 32).to_image();
    for how in [NEW, OLD] {
        assert_eq!(read("a.png", &file, 32, how).0, want.as_raw()[..]);
    }
    // The same JPEG decoder in both.
    let file = jpeg(&image, Kind::default());
    assert_eq!(
        read("a.jpg", &file, 32, NEW).0,
        read("a.jpg", &file, 32, OLD).0
    );
}
