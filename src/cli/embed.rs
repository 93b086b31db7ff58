//! `amcl-wgpu embed`.

use super::console::OutputOptions;
use super::source::SourceArgs;
use amcl_wgpu::data::Dataset;
use amcl_wgpu::downstream::encoder::Feature;
use amcl_wgpu::eval::spread;
use amcl_wgpu::export::table::Table;
use amcl_wgpu::run::output;
use serde_json::json;
use std::path::PathBuf;

/// Writes a feature of images to a file, with file names and labels.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    on: SourceArgs,
    /// Which images: train, test, labelled (those that evaluation alone learns from, if there are such) or all.
    #[arg(long, default_value = "all", value_parser = ["train", "test", "labelled", "all"])]
    split: String,
    /// pooled; of a Vision Transformer token (the class token) or mean (the mean over the patches), both behind the
    /// last norm; head:N, the embeddings of projection head N (from 1; heads without batch norm).
    #[arg(long, default_value = "pooled")]
    feature: Feature,
    /// File to write: .npy (with a .csv of names and labels beside it), .safetensors, .csv or .parquet.
    #[arg(long, short)]
    out: PathBuf,
    /// Replace files that are already there.
    #[arg(long)]
    overwrite: bool,
}

/// Runs the verb.
///
/// # Errors
/// No such run or data, an unknown ending, a file that is there or cannot be written.
pub fn run(args: &Args, options: OutputOptions) -> anyhow::Result<()> {
    output::free(&Table::files(&args.out)?, args.overwrite)?;
    let console = options.console();
    let (mut encoder, split) = args.on.open(args.feature, &console)?;
    let mut table = Table {
        dim: encoder.dim(),
        ..Table::default()
    };
    let wanted = |part: &str| args.split == part || args.split == "all";
    let parts: [(&str, &Dataset); 2] = [("train", &split.train), ("test", &split.test)];
    // Labelled images that are files are apart from those to train on; STL-10's are among them.
    let labelled = split.labelled.iter().filter(|l| !l.names.is_empty());
    let all = parts.into_iter().chain(labelled.map(|l| ("labelled", l)));
    for (part, data) in all.filter(|(p, _)| wanted(p)) {
        let named = |i: usize| match data.names.is_empty() {
            true => format!("{part}/{i}"),
            false => data.name(i),
        };
        let mut progress = |done, all| console.progress(done, all, "features");
        table
            .features
            .extend(encoder.features(data, &mut progress)?);
        table.names.extend((0..data.len()).map(named));
        let label = |l: &u32| split.classes.get(*l as usize).cloned().unwrap_or_default();
        table.labels.extend(data.labels.iter().map(label));
        table.labels.resize(table.names.len(), String::new());
    }
    anyhow::ensure!(
        !table.names.is_empty(),
        "there are no {} images",
        args.split
    );
    let doubt = spread::doubt(&table.features, table.dim);
    if let Some(doubt) = &doubt {
        console.warn(doubt);
    }
    let what = match encoder.made[0] {
        Feature::Backbone => "features".into(),
        named => format!("features ({named})"),
    };
    let files = table.write(&args.out, args.overwrite)?;
    let names: Vec<String> = files.iter().map(|f| f.display().to_string()).collect();
    console.result(
        &format!(
            "{} {what} of {} dimensions in {}",
            table.names.len(),
            table.dim,
            names.join(" and ")
        ),
        &json!({
            "rows": table.names.len(), "dim": table.dim, "feature": encoder.made[0].name(), "files": names,
            "doubt": doubt,
        }),
    );
    Ok(())
}
