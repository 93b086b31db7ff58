//! The command line: `amcl-wgpu --help`.

mod cli;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Self-supervised pre-training of image encoders on any GPU: SimCLR and AMCL.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Train(cli::train::Args),
    Eval(cli::eval::Args),
    Loss(cli::loss::Args),
    Check(cli::check::Args),
    Bench(cli::bench::Args),
    Devices(cli::devices::Args),
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env()
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("off")),
        )
        .with_writer(std::io::stderr)
        .init();
    let result = match Cli::parse().verb {
        Verb::Train(a) => cli::train::run(&a),
        Verb::Eval(a) => cli::eval::run(&a).map(|()| true),
        Verb::Loss(a) => cli::loss::run(&a),
        Verb::Check(a) => cli::check::run(&a),
        Verb::Bench(a) => cli::bench::run(&a).map(|()| true),
        Verb::Devices(a) => cli::devices::run(&a).map(|()| true),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("error: {e:#}");
            ExitCode::FAILURE
        }
    }
}
