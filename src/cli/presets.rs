//! `amcl-wgpu presets`.

use amcl_wgpu::train::config::{Config, PRESETS};

/// Lists the built-in configurations, or prints one.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Print this preset: save it, change it, and use it with --config.
    name: Option<String>,
}

/// Runs the verb.
///
/// # Errors
/// No such preset.
pub fn run(args: &Args) -> anyhow::Result<()> {
    if let Some(name) = &args.name {
        print!("{}", Config::preset(name)?);
        return Ok(());
    }
    let width = PRESETS.iter().map(|p| p.0.len()).max().unwrap_or(0);
    for (name, text) in PRESETS {
        let first = text.lines().next().unwrap_or("").trim_start_matches("# ");
        println!("{name:width$}  {first}");
    }
    Ok(())
}
