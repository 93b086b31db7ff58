//! `amcl-wgpu check --web`: the case table as a page.

use super::console::OutputOptions;
use amcl_wgpu::check::{Case, page};
use amcl_wgpu::export::web::texts;
use amcl_wgpu::run::output;
use anyhow::Context;
use serde_json::json;
use std::path::{Path, PathBuf};

/// The table is too large to be carried by this file; the page names it all the same.
const INLINE: (&str, &str) = ("inline.js", "window.AMCL_INLINE = {};\n");

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
    let mut fixed = texts::of(texts::CHECK);
    fixed.push((INLINE.0, INLINE.1.to_string()));
    let fixed = fixed.into_iter();
    let mut files: Vec<(PathBuf, Vec<u8>)> = fixed
        .map(|(name, text)| (folder.join(name), text.into_bytes()))
        .collect();
    let mut names: Vec<PathBuf> = files.iter().map(|f| f.0.clone()).collect();
    names.push(folder.join("cases.json"));
    output::free(&names, overwrite)?;
    let made = page::page(cases, &mut |done, all| console.progress(done, all, "cases"))?;
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
