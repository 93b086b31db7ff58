//! The command line: `amcl-wgpu --help`.

// A fault is an error with words, not a panic; tests may unwrap.
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used))]

/// Writes to standard output. A reader that has gone (`| head`) is no error: a training goes on without it.
macro_rules! out {
    ($($t:tt)*) => {{
        let _ = std::io::Write::write_fmt(&mut std::io::stdout(), format_args!($($t)*));
    }};
}

/// [`out`] with the end of a line.
macro_rules! outln {
    () => { out!("\n") };
    ($($t:tt)*) => { out!("{}\n", format_args!($($t)*)) };
}

/// Writes a line to standard error, likewise.
macro_rules! errln {
    ($($t:tt)*) => {{
        let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{}\n", format_args!($($t)*)));
    }};
}

mod cli;

use clap::{CommandFactory, Parser, Subcommand};
use cli::console::OutputOptions;
use std::path::PathBuf;
use std::process::ExitCode;

/// Self-supervised pre-training of image encoders on any GPU: SimCLR and AMCL.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    output: OutputOptions,
}

#[derive(Subcommand)]
enum Verb {
    Train(Box<cli::train::Args>),
    Sweep(cli::sweep::Args),
    Eval(cli::eval::Args),
    Embed(cli::embed::Args),
    Export(cli::export::Args),
    Report(cli::report::Args),
    Preview(cli::preview::Args),
    Plan(cli::plan::Args),
    Data(cli::data::Args),
    Presets(cli::presets::Args),
    Loss(cli::loss::Args),
    Verify(cli::verify::Args),
    Check(cli::check::Args),
    Bench(cli::bench::Args),
    Devices(cli::devices::Args),
    /// Prints the completions of a shell: amcl-wgpu completions bash >
    /// ~/.local/share/bash-completion/completions/amcl-wgpu
    Completions {
        /// bash, zsh, fish, elvish or powershell.
        shell: clap_complete::Shell,
    },
    /// Writes man pages, one a verb.
    Man {
        /// Folder to write.
        folder: PathBuf,
    },
}

/// Keeps Mesa's device-select layer from printing errors where there is no Wayland server, as in a container.
#[cfg(unix)]
fn hush_mesa() {
    let unset = |name| std::env::var_os(name).is_none();
    if unset("XDG_RUNTIME_DIR") && unset("MESA_VK_DEVICE_SELECT") {
        // SAFETY: nothing else runs yet in this process.
        unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
    }
}

/// The setting that is meant by a flag that there is not.
fn setting_for(e: &clap::Error) -> Option<String> {
    use clap::error::{ContextKind, ContextValue};
    let takes_settings = ["train", "sweep", "preview", "plan"];
    let verb = std::env::args().nth(1)?;
    match e.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(flag)) if e.get(ContextKind::SuggestedArg).is_none() => {
            let hint = amcl_wgpu::config::synonyms::meant(None, flag);
            hint.filter(|_| takes_settings.contains(&verb.as_str()))
        }
        _ => None,
    }
}

fn main() -> ExitCode {
    #[cfg(unix)]
    hush_mesa();
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env()
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("off")),
        )
        .with_writer(std::io::stderr)
        .init();
    let Cli { verb, output } = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            let _ = e.print();
            if let Some(hint) = setting_for(&e) {
                errln!("  tip: {hint} Settings are given as --set KEY=VALUE");
            }
            return ExitCode::from(u8::try_from(e.exit_code()).unwrap_or(2));
        }
    };
    if let Some(why) = match &verb {
        Verb::Train(_) => cli::launch::refused(true),
        Verb::Sweep(_) | Verb::Eval(_) | Verb::Embed(_) | Verb::Export(_) | Verb::Data(_) => {
            cli::launch::refused(false)
        }
        _ => None,
    } {
        errln!("error: {why}");
        return ExitCode::from(2);
    }
    let result = match verb {
        Verb::Train(a) => cli::train::run(&a, output),
        Verb::Sweep(a) => cli::sweep::run(&a, output),
        Verb::Plan(a) => cli::plan::run(&a, output),
        Verb::Eval(a) => cli::eval::run(&a, output).map(|()| true),
        Verb::Embed(a) => cli::embed::run(&a, output).map(|()| true),
        Verb::Export(a) => cli::export::run(&a, output).map(|()| true),
        Verb::Report(a) => cli::report::run(&a, output).map(|()| true),
        Verb::Preview(a) => cli::preview::run(&a, output).map(|()| true),
        Verb::Data(a) => cli::data::run(&a, output),
        Verb::Presets(a) => cli::presets::run(&a, output).map(|()| true),
        Verb::Loss(a) => cli::loss::run(&a, output),
        Verb::Verify(a) => cli::verify::run(&a, output),
        Verb::Check(a) => cli::check::run(&a, output),
        Verb::Bench(a) => cli::bench::run(&a, output),
        Verb::Devices(a) => cli::devices::run(&a, output).map(|()| true),
        Verb::Completions { shell } => {
            let mut out = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "amcl-wgpu", &mut out);
            out!("{}", String::from_utf8_lossy(&out));
            Ok(true)
        }
        Verb::Man { folder } => std::fs::create_dir_all(&folder)
            .and_then(|()| clap_mangen::generate_to(Cli::command(), &folder))
            .map(|()| true)
            .map_err(|e| anyhow::anyhow!("{}: {e}", folder.display())),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            // Causes that a message already tells are not told again.
            let mut text = e.to_string();
            for cause in e.chain().skip(1).map(ToString::to_string) {
                if !text.contains(&cause) {
                    text += &format!(": {cause}");
                }
            }
            errln!("error: {text}");
            ExitCode::FAILURE
        }
    }
}
