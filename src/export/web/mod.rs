//! The encoder as a page: a folder that any browser with WebGPU runs, with no server-side part. `player.js` replays the
//! plan that was recorded here; the WGSL is the text that a training runs.

mod gallery;
mod plan;
pub mod texts;
pub mod train;

pub use gallery::Gallery;

use crate::config::Config;
use crate::data::{Dataset, Kept};
use crate::run::output;
use crate::run::weights::Trained;
use crate::train::{Result, TrainError};
use base64::Engine as _;
use plan::Recorded;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Images that the page's program takes at once. Dropped images are queued into it.
const BATCH: usize = 8;

/// Files up to so many bytes in all also stand in `inline.js`, so that the page runs where it lies: a page that was
/// opened as a file may not fetch the others.
const INLINE: usize = 16 << 20;

/// What is made of the run.
const MADE: [&str; 6] = [
    "plan.json",
    "weights.bin",
    "page.json",
    "gallery.bin",
    "gallery.png",
    "inline.js",
];

/// What a page is to show.
#[derive(Clone, Copy, Debug)]
pub struct Site<'a> {
    /// Height and width of the images that the encoder is fed: the data set's.
    pub side: (usize, usize),
    /// Names of the classes.
    pub classes: &'a [String],
    /// Images to compare with.
    pub gallery: Option<Gallery<'a>>,
}

/// The files of a page in a folder; those of the gallery too, whether or not there is one.
pub fn files(out: &Path) -> Vec<PathBuf> {
    names(texts::ENCODER, &MADE, out)
}

/// The rest of what the page has to know.
fn described(run: &Trained, site: &Site<'_>, recorded: &Recorded, gallery: Value) -> Value {
    let (c, size) = (&run.config, run.config.model.image_size);
    json!({
        "title": format!("{} encoder, {}", c.method.name, c.model.encoder),
        "method": c.method.name,
        "backbone": c.model.encoder,
        "epoch": run.at.epoch,
        "height": site.side.0,
        "width": site.side.1,
        "size": size,
        "batch": BATCH,
        "dim": recorded.dim,
        "program": plan::EMBED,
        "pixels": {"input": "images", "layout": "rgb-words"},
        "classes": site.classes,
        "gallery": gallery,
        "attention": recorded.heads.map(|heads| json!({
            "program": "attention", "input": "images", "output": "attention", "heads": heads,
        })),
        "knn": {"k": c.run.knn_k, "temperature": c.run.knn_t},
    })
}

/// A script that carries files for a page that may not fetch them.
fn inline(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut text = String::from(
        "// The files of this folder, for a page that was opened as a file.\nwindow.AMCL_INLINE = {\n",
    );
    let whole: usize = files.iter().map(|f| f.1.len()).sum();
    if whole <= INLINE {
        for (name, bytes) in files {
            let coded = base64::engine::general_purpose::STANDARD.encode(bytes);
            text.push_str(&format!("\"{name}\": \"{coded}\",\n"));
        }
    }
    text.push_str("};\n");
    text.into_bytes()
}

/// Whether a configuration's images are of one size, as a page takes them: to be asked before any work is done.
///
/// # Errors
/// They have sides of their own.
pub fn one_size(c: &Config) -> Result<()> {
    match c.data.stored {
        Kept::Square => Ok(()),
        Kept::ShortSide => Err(TrainError::Config(
            "a page takes images of one size, and data.stored is short_side in this run".into(),
        )),
    }
}

/// At most so many images of a set, in memory and in the set's order: of each class its share, evenly spread.
///
/// # Errors
/// An image that cannot be read.
pub fn sample(data: &Dataset, count: usize) -> Result<Dataset> {
    let n = count.min(data.len());
    // Classes may take turns, so that every second image is of every second class. Without labels nothing moves.
    let mut by_class: Vec<usize> = (0..data.len()).collect();
    by_class.sort_by_key(|i| data.labels.get(*i));
    let mut ids: Vec<usize> = (0..n).map(|i| by_class[i * data.len() / n]).collect();
    ids.sort_unstable();
    let loaded = data.select(&ids).loaded();
    loaded.map_err(|e| TrainError::Config(e.to_string()))
}

/// Writes the page of a run into a folder, which is made where it is not there, and returns its files. Those that are
/// already there are replaced only with `overwrite`.
///
/// # Errors
/// A file that is there; a folder that cannot be written; an encoder that does not run within WebGPU's default limits.
pub fn write(run: &Trained, site: &Site<'_>, out: &Path, overwrite: bool) -> Result<Vec<PathBuf>> {
    output::free(&files(out), overwrite)?;
    one_size(&run.config)?;
    let recorded = plan::record(run, site.side, BATCH)?;
    let gallery = site.gallery.map(|g| g.pack(recorded.dim)).transpose()?;
    let page = match &gallery {
        Some(g) => described(run, site, &recorded, g.described.clone()),
        None => described(run, site, &recorded, Value::Null),
    };
    let fail = |e: serde_json::Error| TrainError::Config(e.to_string());
    let mut made = vec![
        (
            "plan.json",
            serde_json::to_vec(&recorded.plan).map_err(fail)?,
        ),
        ("weights.bin", recorded.weights),
        ("page.json", serde_json::to_vec(&page).map_err(fail)?),
    ];
    if let Some(g) = gallery {
        made.extend([("gallery.bin", g.numbers), ("gallery.png", g.sprites)]);
    }
    made.push(("inline.js", inline(&made)));
    write_page(texts::ENCODER, made, out, overwrite)
}

/// The files of a page and those that are made for it.
fn names(page: texts::Page, made: &[&str], out: &Path) -> Vec<PathBuf> {
    let fixed = texts::of(page);
    let names = fixed.iter().map(|f| f.0).chain(made.iter().copied());
    names.map(|n| out.join(n)).collect()
}

/// Writes a page's texts and what was made for it.
fn write_page(
    page: texts::Page,
    made: Vec<(&str, Vec<u8>)>,
    out: &Path,
    overwrite: bool,
) -> Result<Vec<PathBuf>> {
    let fixed = texts::of(page).into_iter();
    let fixed = fixed.map(|(n, text)| (out.join(n), text.into_bytes()));
    let made = made.into_iter().map(|(n, bytes)| (out.join(n), bytes));
    super::write_into(out, fixed.chain(made).collect(), overwrite)
}
