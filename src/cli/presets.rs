//! `amcl-wgpu presets`.

use super::console::OutputOptions;
use amcl_wgpu::config::Config;
use amcl_wgpu::config::presets::PRESETS;
use serde_json::json;

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
pub fn run(args: &Args, output: OutputOptions) -> anyhow::Result<()> {
    let console = output.console();
    if let Some(name) = &args.name {
        let text = Config::preset(name)?;
        console.result(text.trim_end(), &json!({"name": name, "toml": text}));
        return Ok(());
    }
    // The comment that a preset begins with.
    let about = |text: &'static str| {
        let lines = text.lines().map_while(|l| l.strip_prefix("# "));
        lines.collect::<Vec<_>>().join(" ")
    };
    let width = PRESETS.iter().map(|p| p.0.len()).max().unwrap_or(0);
    let lines = PRESETS
        .iter()
        .map(|(name, text)| format!("{name:width$}  {}", about(text)));
    let value = PRESETS
        .iter()
        .map(|(name, text)| json!({"name": name, "about": about(text)}));
    console.result(
        &lines.collect::<Vec<_>>().join("\n"),
        &json!({"presets": value.collect::<Vec<_>>()}),
    );
    Ok(())
}
