//! `amcl-wgpu export`.

use super::console::{Console, OutputOptions};
use super::number::within;
use amcl_wgpu::data::{Dataset, Split};
use amcl_wgpu::device::Choice;
use amcl_wgpu::downstream::encoder::Feature;
use amcl_wgpu::downstream::{Notice, Source};
use amcl_wgpu::export::{self, web};
use amcl_wgpu::run::{output, weights};
use amcl_wgpu::settings::between;
use serde_json::json;
use std::path::{Path, PathBuf};

/// Writes a run's encoder for other programs: safetensors under torchvision's names, config.json, ONNX, a
/// loader for PyTorch. With --web, a page that runs it in any browser with WebGPU.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Run folder.
    run: PathBuf,
    /// Folder to write.
    #[arg(long, short, required_unless_present = "web")]
    out: Option<PathBuf>,
    /// Folder to write a page into: drop images on it, and it shows their features, neighbours, class and a map.
    #[arg(long, value_name = "DIR", conflicts_with = "out")]
    web: Option<PathBuf>,
    /// Write a page that trains from the beginning, by the run's configuration on images of its data, in the browser.
    #[arg(long, requires = "web")]
    train: bool,
    /// Of the page: test images that it carries for comparison; 0: none, and the data are not read.
    #[arg(long, default_value_t = 500, requires = "web", value_parser = within::<usize>(between(0.0, 20_000.0)))]
    gallery: usize,
    /// Of the page: other data than the run's.
    #[arg(long, requires = "web")]
    data: Option<String>,
    /// Of the page: the device that makes the gallery's features, or the losses that training is compared with: auto,
    /// cpu, gpu, gpu:N or part of an adapter's name.
    #[arg(long, default_value = "auto", requires = "web")]
    device: Choice,
    /// Replace files that are already there.
    #[arg(long)]
    overwrite: bool,
}

/// Runs the verb.
///
/// # Errors
/// No such run, no usable checkpoint, data that cannot be read, a folder that cannot be written.
pub fn run(args: &Args, options: OutputOptions) -> anyhow::Result<()> {
    let console = options.console();
    anyhow::ensure!(
        args.web.is_some() || !args.train,
        "--train is a page's: name its folder with --web"
    );
    match (&args.web, &args.out) {
        (Some(folder), _) if args.train => training(args, folder, &console),
        (Some(folder), _) => page(args, folder, &console),
        (None, Some(out)) => files(args, out, &console),
        (None, None) => anyhow::bail!("name a folder with --out or --web"),
    }
}

fn files(args: &Args, out: &Path, console: &Console) -> anyhow::Result<()> {
    output::free(&export::files(out), args.overwrite)?;
    let found = weights::of_run(&args.run, |w| console.warn(&w))?;
    let files: Vec<String> = export::write(&found, out, args.overwrite)?
        .iter()
        .map(|f| f.display().to_string())
        .collect();
    console.result(
        &format!(
            "the encoder after epoch {}:\n  {}\n\
             in PyTorch: from load_encoder import load; model, transform = load({:?})",
            found.at.epoch,
            files.join("\n  "),
            out.display().to_string()
        ),
        &json!({"epoch": found.at.epoch, "files": files}),
    );
    Ok(())
}

/// The images that the page carries: of the test images, or of the others where there are none.
fn carried(split: &Split, count: usize) -> amcl_wgpu::train::Result<Dataset> {
    let from = if split.test.is_empty() {
        &split.train
    } else {
        &split.test
    };
    web::sample(from, count)
}

fn source(args: &Args) -> Source {
    Source {
        run: args.run.clone(),
        data: args.data.clone(),
        device: args.device.clone(),
        others: Vec::new(),
    }
}

/// Bytes of files, in MB.
fn megabytes(files: &[PathBuf]) -> f64 {
    let sizes = files.iter().filter_map(|f| f.metadata().ok());
    sizes.map(|m| m.len()).sum::<u64>() as f64 / 1e6
}

/// How to look at the page.
fn serve(folder: &Path, page: &str) -> String {
    format!(
        "serve the folder and open http://localhost:8000/{page} in a browser with WebGPU:\n  \
         python3 -m http.server --directory {:?} 8000",
        folder.display().to_string()
    )
}

fn training(args: &Args, folder: &Path, console: &Console) -> anyhow::Result<()> {
    output::free(&web::train::files(folder), args.overwrite)?;
    let tell = console.teller();
    let (trained, split) = source(args).read(&tell)?;
    let files = web::train::write(
        (&trained.config, &split),
        folder,
        args.overwrite,
        (&args.device, &|l: String| tell(Notice::Line(&l))),
    )?;
    let size = megabytes(&files);
    console.result(
        &format!(
            "a page that trains as {} did: {} ({size:.1} MB)\n{}",
            args.run.display(),
            folder.join("train.html").display(),
            serve(folder, "train.html")
        ),
        &json!({
            "megabytes": size,
            "files": files.iter().map(|f| f.display().to_string()).collect::<Vec<_>>(),
        }),
    );
    Ok(())
}

fn page(args: &Args, folder: &Path, console: &Console) -> anyhow::Result<()> {
    output::free(&web::files(folder), args.overwrite)?;
    let tell = console.teller();
    let source = source(args);
    let (trained, split) = source.read(&tell)?;
    web::one_size(&trained.config)?;
    let (mut images, mut features) = (None, Vec::new());
    if args.gallery > 0 {
        let chosen = carried(&split, args.gallery)?;
        let mut encoder = source.encoder(&trained, &split, &[Feature::Backbone], &tell)?;
        let mut progress = |done, all| console.progress(done, all, "features");
        features = encoder.features(&chosen, &mut progress)?;
        images = Some(chosen);
    }
    let site = web::Site {
        side: (split.train.height, split.train.width),
        classes: &split.classes,
        gallery: images.as_ref().map(|images| web::Gallery {
            images,
            features: &features,
        }),
    };
    let files = web::write(&trained, &site, folder, args.overwrite)?;
    let (size, count) = (megabytes(&files), images.as_ref().map_or(0, Dataset::len));
    console.result(
        &format!(
            "the encoder after epoch {} as a page: {} ({size:.1} MB, {count} images to compare with)\n{}",
            trained.at.epoch,
            folder.join("index.html").display(),
            serve(folder, "")
        ),
        &json!({
            "epoch": trained.at.epoch, "megabytes": size, "gallery": count,
            "files": files.iter().map(|f| f.display().to_string()).collect::<Vec<_>>(),
        }),
    );
    Ok(())
}
