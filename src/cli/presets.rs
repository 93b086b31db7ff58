//! `amcl-wgpu presets`.

use super::console::OutputOptions;
use amcl_wgpu::config::Config;
use amcl_wgpu::config::presets::PRESETS;
use serde_json::json;

/// Lists the built-in configurations, or prints one with where it is from. Those of ImageNet, ImageNet-100 and
/// Imagenette say what memory is planned, and how long a card takes that computes so many TFLOP/s.
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
        .map(|(name, text)| format!("{name:width$}  {}", in_short(&about(text))));
    let value = PRESETS
        .iter()
        .map(|(name, text)| json!({"name": name, "about": about(text)}));
    let last = "amcl-wgpu presets NAME prints one, and says where it is from".to_string();
    console.result(
        &lines.chain([last]).collect::<Vec<_>>().join("\n"),
        &json!({"presets": value.collect::<Vec<_>>()}),
    );
    Ok(())
}

/// What a preset is, and what it plans: the first words of its comment, up to where the recipe begins, and the sentence
/// with the batch, the memory and the hours, where there is one.
fn in_short(about: &str) -> String {
    let ends = [": ", ". "].iter().filter_map(|end| about.find(end));
    let title = &about[..ends.min().unwrap_or(about.len())];
    let rate = " TFLOP/s";
    let plan = about.match_indices("Batch ").find_map(|(at, _)| {
        let to = about[at..].find(rate)?;
        let plan = &about[at..at + to + rate.len()];
        plan.contains(" GiB planned, ").then_some(plan)
    });
    match plan {
        Some(plan) => format!("{title}. {plan}"),
        None => title.trim_end_matches('.').to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preset_in_short_is_its_title_and_its_plan() {
        let plan = "Batch 4 in 2 parts: 1.5 GiB planned, 2 h at 94 TFLOP/s";
        for (about, short) in [
            ("A on B: a recipe. Batch 8 of others.", "A on B".to_string()),
            ("A on B. More.", "A on B".into()),
            ("A on B.", "A on B".into()),
            (
                &format!("A on B: a recipe. {plan}. Wider: 3 GiB planned."),
                format!("A on B. {plan}"),
            ),
        ] {
            assert_eq!(in_short(about), short);
        }
    }
}
