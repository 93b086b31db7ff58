//! `amcl-wgpu check --web`: the case table as a page.

use super::console::OutputOptions;
use amcl_wgpu::check::{Case, page};
use amcl_wgpu::run::output;
use anyhow::Context;
use serde_json::json;
use std::path::{Path, PathBuf};

macro_rules! asset {
    ($name:literal) => {
        ($name, include_str!(concat!("../../assets/web/", $name)))
    };
}

/// What is the same in every folder. The table is too large to be carried by `inline.js`; the page names it.
const TEXTS: [(&str, &str); 8] = [
    asset!("check.html"),
    asset!("page.css"),
    asset!("player.js"),
    asset!("files.js"),
    asset!("trouble.js"),
    asset!("judge.js"),
    asset!("check.js"),
    ("inline.js", "window.AMCL_INLINE = {};\n"),
];

/// Writes the page of these cases into a folder.
///
/// # Errors
/// Files that are already there, without `overwrite`; the disk.
pub fn write(
    cases: &[Case],
    folder: &Path,
    overwrite: bool,
    options: OutputOptions,
) -> anyhow::Result<()> {
    let console = options.console();
    let fixed = TEXTS.map(|(name, text)| (folder.join(name), text.as_bytes().to_vec()));
    let mut names: Vec<PathBuf> = fixed.iter().map(|f| f.0.clone()).collect();
    names.push(folder.join("cases.json"));
    output::free(&names, overwrite)?;
    let made = page::page(cases, &mut |done, all| console.progress(done, all, "cases"))?;
    let mut files = fixed.to_vec();
    files.push((folder.join("cases.json"), serde_json::to_vec(&made.table)?));
    let parts = made.parts.into_iter().enumerate();
    files.extend(parts.map(|(i, bytes)| (folder.join(page::part(i)), bytes)));
    let bytes: usize = files.iter().map(|f| f.1.len()).sum();
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    output::write(&files, overwrite)?;
    console.result(
        &format!(
            "{} cases as a page, {} left out (it names them): {} ({:.1} MB)\n\
             serve the folder and open http://localhost:8000/check.html in the browser to be proved:\n  \
             python3 -m http.server --directory {:?} 8000",
            made.cases,
            made.left_out,
            folder.join("check.html").display(),
            bytes as f64 / 1e6,
            folder.display().to_string()
        ),
        &json!({"cases": made.cases, "left_out": made.left_out, "bytes": bytes}),
    );
    Ok(())
}
