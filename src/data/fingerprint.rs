//! What tells one data set from another without reading it again: counts, classes, hashes of names and labels, and of
//! a sample of the pixels. It stands in a run's folder, so that a run is not continued or evaluated unawares on other
//! data than it was trained on.

use super::{Dataset, Split};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fmt::Write;

/// Images of each part whose pixels are looked at: the first, the last and others at equal distances.
const SAMPLE: usize = 64;
/// Classes that are named.
const NAMED: usize = 5;

/// A part of a data set: its training images, its labelled ones, its test images.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Images.
    pub images: usize,
    /// SHA-256 of all labels.
    pub labels: String,
    /// SHA-256 of all names of files.
    pub names: String,
    /// SHA-256 of the pixels of a sample, and of the images' sides.
    pub pixels: String,
}

/// The fingerprint of a data set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Names of the classes, in the order of their labels.
    pub classes: Vec<String>,
    /// The training images.
    pub train: Part,
    /// The labelled images that evaluation learns from, where those are not the training images.
    pub labelled: Option<Part>,
    /// The test images.
    pub test: Part,
}

/// The hash in hexadecimal digits.
fn hex(hash: Sha256) -> String {
    let bytes = hash.finalize();
    bytes.iter().fold(String::new(), |mut out, b| {
        let _ = write!(out, "{b:02x}");
        out
    })
}

impl Part {
    fn of(d: &Dataset) -> Self {
        let [mut labels, mut names, mut pixels] = [(); 3].map(|()| Sha256::new());
        d.labels.iter().for_each(|l| labels.update(l.to_le_bytes()));
        for name in &d.names {
            // A folder has the same names wherever it is unpacked.
            names.update(name.replace('\\', "/"));
            names.update([0]);
        }
        for side in [d.height, d.width] {
            pixels.update((side as u64).to_le_bytes());
        }
        let (n, count) = (d.len(), d.len().min(SAMPLE));
        for i in 0..count {
            // An image that cannot be read is named where it is needed.
            if let Ok((image, side)) = d.picture(i * (n - 1) / (count - 1).max(1)) {
                if side != (d.height, d.width) {
                    pixels.update((side.0 as u64).to_le_bytes());
                    pixels.update((side.1 as u64).to_le_bytes());
                }
                pixels.update(&image);
            }
        }
        Self {
            images: n,
            labels: hex(labels),
            names: hex(names),
            pixels: hex(pixels),
        }
    }

    /// How `now` differs; empty where it does not.
    fn differences(&self, now: &Self, what: &str) -> Vec<String> {
        if self.images != now.images {
            return vec![format!(
                "{} {what} images instead of {}",
                now.images, self.images
            )];
        }
        let mut out = Vec::new();
        for (differ, other) in [
            (self.names != now.names, "names"),
            (self.labels != now.labels, "labels"),
            (self.pixels != now.pixels, "pixels"),
        ] {
            if differ {
                out.push(other);
            }
        }
        match out.is_empty() {
            true => Vec::new(),
            false => vec![format!("other {} of {what} images", out.join(" and "))],
        }
    }
}

/// The first few of some names.
fn few(names: &[&str]) -> String {
    let mut out = names[..names.len().min(NAMED)].join(", ");
    if names.len() > NAMED {
        let _ = write!(out, " and {} more", names.len() - NAMED);
    }
    out
}

impl Fingerprint {
    /// The fingerprint of a data set.
    pub fn of(split: &Split) -> Self {
        Self {
            classes: split.classes.clone(),
            train: Part::of(&split.train),
            labelled: split.labelled.as_ref().map(Part::of),
            test: Part::of(&split.test),
        }
    }

    /// How the data `now` differ from these, in words for a list; empty where they do not.
    pub fn differences(&self, now: &Self) -> Vec<String> {
        let mut out = Vec::new();
        let [old, new] = [self, now].map(|f| f.classes.iter().map(String::as_str));
        let [old, new]: [BTreeSet<&str>; 2] = [old.collect(), new.collect()];
        for (names, what) in [
            (old.difference(&new), "not there any more"),
            (new.difference(&old), "new"),
        ] {
            let names: Vec<&str> = names.copied().collect();
            match names.len() {
                0 => {}
                1 => out.push(format!("class {} is {what}", names[0])),
                n => out.push(format!("{n} classes are {what} ({})", few(&names))),
            }
        }
        if out.is_empty() && self.classes != now.classes {
            out.push("the classes have another order".into());
        }
        out.extend(self.train.differences(&now.train, "training"));
        out.extend(match (&self.labelled, &now.labelled) {
            (Some(a), Some(b)) => a.differences(b, "labelled"),
            (None, None) => Vec::new(),
            (None, Some(_)) => vec!["evaluation learns from labelled images of their own".into()],
            (Some(_), None) => vec!["evaluation learns from the training images".into()],
        });
        out.extend(self.test.differences(&now.test, "test"));
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Images of 2x2 pixels of a level of their own.
    fn part(n: usize) -> Dataset {
        Dataset {
            images: (0..n * 12).map(|i| (i / 12) as u8).collect(),
            labels: (0..n).map(|i| (i % 2) as u32).collect(),
            names: (0..n)
                .map(|i| format!("{}/{i}.png", ["cat", "dog"][i % 2]))
                .collect(),
            ..Dataset::empty(2, 2)
        }
    }

    fn split() -> Split {
        Split {
            description: String::new(),
            warnings: Vec::new(),
            train: part(200),
            labelled: None,
            test: part(20),
            classes: vec!["cat".into(), "dog".into()],
        }
    }

    /// What is said of a set that `change` was done to.
    fn said(change: impl Fn(&mut Split)) -> Vec<String> {
        let mut other = split();
        change(&mut other);
        Fingerprint::of(&split()).differences(&Fingerprint::of(&other))
    }

    #[test]
    fn every_change_is_named_and_none_where_there_is_none() {
        assert_eq!(said(|_| ()), [""; 0]);
        assert_eq!(said(|s| s.description += "x"), [""; 0]);
        let renamed = said(|s| s.classes[1] = "zebra".into());
        assert_eq!(
            renamed,
            ["class dog is not there any more", "class zebra is new"]
        );
        assert_eq!(
            said(|s| s.classes.swap(0, 1)),
            ["the classes have another order"]
        );
        assert_eq!(
            said(|s| s.train = part(190)),
            ["190 training images instead of 200"]
        );
        assert_eq!(
            said(|s| s.test.labels[3] = 0),
            ["other labels of test images"]
        );
        assert_eq!(
            said(|s| s.train.names[7] += "x"),
            ["other names of training images"]
        );
        // The first, the last and images between them.
        for i in [0, 199] {
            let said = said(|s| s.train.images[12 * i] += 1);
            assert_eq!(said, ["other pixels of training images"]);
        }
        assert_eq!(
            said(|s| (s.train.height, s.train.width) = (1, 4)),
            ["other pixels of training images"]
        );
        assert_eq!(
            said(|s| s.labelled = Some(part(4))),
            ["evaluation learns from labelled images of their own"]
        );
    }

    #[test]
    fn a_fingerprint_is_read_as_it_was_written() {
        let f = Fingerprint::of(&split());
        let text = serde_json::to_string(&f).unwrap();
        assert_eq!(serde_json::from_str::<Fingerprint>(&text).unwrap(), f);
        // Sets of no image and of one have no last one to divide by.
        let mut tiny = split();
        (tiny.train, tiny.test) = (part(1), part(0));
        assert_eq!(Fingerprint::of(&tiny).train.images, 1);
    }
}
