//! What names say: which part of a data set a folder or a cell of a list is, which files are images, and what no user
//! put there.

use std::ffi::OsStr;

/// Names of training images, without capitals and signs.
const TRAIN: &[&str] = &["train", "training", "trainval"];
/// Names of test images likewise, in the order of preference.
const TEST: &[&str] = &[
    "test",
    "testing",
    "holdout",
    "eval",
    "evaluation",
    "val",
    "valid",
    "validation",
    "dev",
];
/// Words beside a split's that say nothing: `training_set`, `test images`.
const NEUTRAL: &[&str] = &[
    "set", "data", "dataset", "split", "folder", "dir", "files", "image", "images", "img", "imgs",
    "photos", "pictures", "jpg", "jpeg", "png",
];
/// Names of a folder that holds a set's images, beside annotations or masks. None of them is a class.
const IMAGES: &[&str] = &["image", "images", "img", "imgs", "jpegimages"];
/// How names of folders beside those begin: annotations and masks, which are images too.
const ANNOTATIONS: &[&str] = &[
    "annotation",
    "mask",
    "label",
    "segmentation",
    "trimap",
    "groundtruth",
];
/// Endings of image files that are read, in small letters; what a file is, its content tells.
const READ: &[&str] = &[
    "png", "jpg", "jpeg", "jpe", "jfif", "jfi", "jif", "pjpeg", "pjp", "webp", "bmp", "dib", "gif",
    "tif", "tiff", "ppm", "pgm", "pbm", "pnm", "pam", "qoi", "tga",
];
/// Endings of image files for which there is no decoder here.
const UNREAD: &[&str] = &[
    "heic", "heif", "avif", "jp2", "j2k", "jpx", "jxl", "jxr", "svg", "ico", "hdr", "exr", "dds",
    "psd", "xcf", "raw", "dng", "cr2", "cr3", "nef", "arw", "orf", "rw2", "dcm",
];
/// What systems and storage devices leave in folders. Names that begin with a dot are left out too.
const LITTER: &[&str] = &[
    "@eadir",
    "@__thumb",
    "@recycle",
    "#recycle",
    "#snapshot",
    "$recycle.bin",
    "system volume information",
    "lost+found",
    "__macosx",
    "thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
];

/// A part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// Images to train on.
    Train,
    /// Images to test on, with their place in the order of preference.
    Test(usize),
}

impl Part {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => TRAIN[0],
            Self::Test(i) => TEST[i],
        }
    }
}

/// Names of parts for messages.
pub(super) fn parts() -> String {
    format!("{}; {}", TRAIN.join(", "), TEST.join(", "))
}

/// A name in small letters, without signs, and without a number behind it (`val2017`).
fn plain(name: &str) -> String {
    let kept: String = name.chars().filter(|c| c.is_alphanumeric()).collect();
    let small = kept.to_lowercase();
    small.trim_end_matches(|c: char| c.is_ascii_digit()).into()
}

/// The part that a name stands for by itself: `Train`, `hold-out`, `val2017`.
pub(super) fn part(name: &str) -> Option<Part> {
    let name = plain(name);
    if TRAIN.contains(&&*name) {
        return Some(Part::Train);
    }
    TEST.iter().position(|t| *t == name).map(Part::Test)
}

/// The words of a name: cut at signs and before capitals.
fn words(name: &str) -> Vec<String> {
    let (mut out, mut word, mut small) = (Vec::new(), String::new(), false);
    for c in name.chars() {
        if !c.is_alphanumeric() || (small && c.is_uppercase()) {
            out.push(std::mem::take(&mut word));
        }
        if c.is_alphanumeric() {
            word.extend(c.to_lowercase());
        }
        small = c.is_lowercase();
    }
    out.push(word);
    out.retain(|w| !w.is_empty());
    out
}

/// The part that one word of a name stands for, and the words that are left: `training_set` is for training with
/// nothing left, `seg_train` with `seg` left. None where no word or several stand for parts.
pub(super) fn part_in(name: &str) -> Option<(Part, String)> {
    if let Some(part) = part(name) {
        return Some((part, String::new()));
    }
    let (mut found, mut rest) = (None, Vec::new());
    for word in words(name) {
        let bare = NEUTRAL
            .iter()
            .find_map(|n| part(word.strip_suffix(n)?))
            .or_else(|| part(&word));
        match bare {
            Some(_) if found.is_some() => return None,
            Some(part) => found = Some(part),
            None if NEUTRAL.contains(&&*plain(&word)) => (),
            None => rest.push(word),
        }
    }
    Some((found?, rest.join(" ")))
}

/// Is it the name of a folder of all images, and so of no class?
pub(super) fn is_images(name: &str) -> bool {
    IMAGES.contains(&&*name.to_lowercase())
}

/// Is it the name of a folder of annotations or masks?
pub(super) fn is_annotations(name: &str) -> bool {
    let name = plain(name);
    ANNOTATIONS.iter().any(|a| name.starts_with(a))
}

/// Is it a file or folder that no user put there?
pub(super) fn is_litter(name: &OsStr) -> bool {
    let small = name.to_string_lossy().to_lowercase();
    small.starts_with('.') || LITTER.contains(&&*small)
}

/// The ending of a file in small letters; empty where it has none.
pub(super) fn ending(file: &std::path::Path) -> String {
    let ending = file.extension().map(|e| e.to_string_lossy().to_lowercase());
    ending.unwrap_or_default()
}

/// Is it the ending of an image file that is read?
pub(super) fn is_read(ending: &str) -> bool {
    READ.contains(&ending)
}

/// Is it the ending of an image file that is not read?
pub(super) fn is_unread_image(ending: &str) -> bool {
    UNREAD.contains(&ending)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_have_many_names() {
        for name in ["train", "TRAIN", "Training", "train2017", "TrainVal"] {
            assert_eq!(part(name), Some(Part::Train), "{name}");
        }
        for name in [
            "test",
            "Testing",
            "Hold-Out",
            "VAL",
            "valid",
            "validation",
            "dev",
            "eval",
        ] {
            assert!(matches!(part(name), Some(Part::Test(_))), "{name}");
        }
        for name in [
            "",
            "cat",
            "trains",
            "contest",
            "train_station",
            "validity",
            "2017",
            "invalid",
        ] {
            assert_eq!(part(name), None, "{name}");
        }
        assert!(part("test") < part("val"), "the order of preference");
        for (name, rest) in [
            ("training_set", ""),
            ("TrainImages", ""),
            ("trainset", ""),
            ("images.train", ""),
            ("seg_train", "seg"),
            ("train_station", "station"),
        ] {
            assert_eq!(part_in(name), Some((Part::Train, rest.into())), "{name}");
        }
        for name in ["train_test", "images", "restrain", "strain"] {
            assert_eq!(part_in(name), None, "{name}");
        }
    }
}
