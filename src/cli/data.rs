//! `amcl-wgpu data`.

use super::console::{Console, OutputOptions};
use amcl_wgpu::data::download::fetch;
use amcl_wgpu::data::sets::{SETS, Unpack};
use amcl_wgpu::settings::did_you_mean;
use serde_json::json;
use std::path::{Path, PathBuf};

/// Looks at data, or fetches public sets.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    Inspect(super::data_inspect::Args),
    Pack(super::data_pack::Args),
    /// Fetches cifar10, cifar100, stl10, tiny-imagenet, imagenette, mnist or fashion-mnist; goes on where an earlier try
    /// stopped.
    Download {
        /// Name.
        name: String,
        /// Folder to put it into.
        #[arg(long, short, default_value = ".")]
        out: PathBuf,
        /// Another address of the same file; for sets of several files, of the folder they lie in.
        #[arg(long)]
        url: Option<String>,
        /// MD5 of the file at that address, if it is another file (sets of one file).
        #[arg(long, requires = "url")]
        md5: Option<String>,
    },
}

fn download(
    console: &Console,
    name: &str,
    out: &Path,
    from: Option<&str>,
    md5: Option<&str>,
) -> anyhow::Result<()> {
    let Some(set) = SETS.iter().find(|s| s.name == name) else {
        let all = SETS.iter().map(|s| s.name);
        anyhow::bail!("no data set `{name}`; {}", did_you_mean(name, all));
    };
    anyhow::ensure!(
        md5.is_none() || set.files.len() == 1,
        "--md5 is of one file, and {name} has {}",
        set.files.len()
    );
    let data = out.join(set.folder);
    let into = if set.unpack.is_some() { out } else { &data };
    let mut paths = Vec::new();
    for (url, sum) in set.files {
        let file = url.rsplit('/').next().unwrap_or_default();
        // --url is the address of a set's only file, or of the folder of its several files.
        let url = match from {
            Some(u) if set.files.len() == 1 => u.to_string(),
            Some(u) => format!("{}/{file}", u.trim_end_matches('/')),
            None => url.to_string(),
        };
        let say = format!("MiB of {file}");
        paths.push(fetch(&url, md5.unwrap_or(sum), into, &|done, all| {
            console.progress((done >> 20) as usize, (all >> 20) as usize, &say);
        })?);
    }
    let names: Vec<String> = paths.iter().map(|p| p.display().to_string()).collect();
    let right = if names.len() == 1 {
        "its MD5 is right"
    } else {
        "their MD5s are right"
    };
    let mut text = format!("{}: {right}. ", names.join(", "));
    match set.unpack {
        Some(Unpack::TarGz) => {
            text += &format!(
                "Unpack it and train:\n  tar -xzf {} -C {}",
                names[0],
                out.display()
            );
        }
        Some(Unpack::Zip) => {
            text += &format!(
                "Unpack it and train:\n  unzip -q {} -d {}",
                names[0],
                out.display()
            );
        }
        None => text += "Train:",
    }
    text += &format!("\n  amcl-wgpu train --data {}", data.display());
    console.result(
        &text,
        &json!({"files": names, "data": data.display().to_string()}),
    );
    Ok(())
}

/// Runs the verb; false when interrupted.
///
/// # Errors
/// Data that cannot be read; the network.
pub fn run(args: &Args, output: OutputOptions) -> anyhow::Result<bool> {
    let console = output.console();
    match &args.command {
        Command::Inspect(args) => super::data_inspect::run(args, &console).map(|()| true),
        Command::Pack(args) => super::data_pack::run(args, &console),
        Command::Download {
            name,
            out,
            url,
            md5,
        } => download(&console, name, out, url.as_deref(), md5.as_deref()).map(|()| true),
    }
}
