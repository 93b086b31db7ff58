//! Tests that keep the documents true to the program: `docs/guide/cli.md` is what clap's definition says,
//! `docs/guide/settings.md` what the sections say, and every command of the documents is one that the program takes.
//!
//! After a change of either: `AMCL_WRITE=1 cargo test --bin amcl-wgpu reference` writes the pages anew.

use crate::Cli;
use amcl_wgpu::config::Config;
use amcl_wgpu::data::sets::SETS;
use amcl_wgpu::downstream::finetune::FinetuneSettings;
use amcl_wgpu::experiment::Experiment;
use amcl_wgpu::methods::METHODS;
use amcl_wgpu::nn::backbones::FAMILIES;
use amcl_wgpu::settings::{self, Field, Section};
use clap::error::ErrorKind;
use clap::{Arg, ArgMatches, Command, CommandFactory};
use std::path::{Path, PathBuf};
use toml::Table;

/// Columns of a line of prose.
const WIDTH: usize = 120;

/// What a page of commands begins with.
const HEAD: &str = "# Command line

<!-- Generated from the program's own definition: AMCL_WRITE=1 cargo test --bin amcl-wgpu reference -->

`amcl-wgpu VERB --help` prints the same. `amcl-wgpu completions SHELL` prints completions for your shell, and
`amcl-wgpu man FOLDER` writes man pages.
";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Breaks text into lines of at most [`WIDTH`] columns; `first` begins the first line, blanks as long the others.
fn wrap(first: &str, text: &str) -> String {
    let indent = " ".repeat(first.chars().take_while(|c| "- ".contains(*c)).count());
    let (mut out, mut line) = (String::new(), first.trim_end().to_string());
    for word in text.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            out += &format!("{line}\n");
            line = format!("{indent}{word}");
        } else if line.is_empty() {
            line = word.into();
        } else {
            line += &format!(" {word}");
        }
    }
    out + &line + "\n"
}

/// Text for Markdown: outside of code, `<` and `*` stand for themselves. It ends with a full stop, or with a command.
fn prose(text: &str) -> String {
    let mut out = String::new();
    for (i, part) in text.trim().split('`').enumerate() {
        match i % 2 {
            0 => out += &part.replace('<', "\\<").replace('*', "\\*"),
            _ => out += &format!("`{part}`"),
        }
    }
    let command = out
        .split_whitespace()
        .last()
        .is_some_and(|w| w.contains('='));
    if !out.ends_with(['.', '`']) && !command {
        out.push('.');
    }
    out
}

/// `-o`, `--out` and their value, as one types them.
fn name(arg: &Arg) -> String {
    let short = arg.get_short().map(|c| format!("-{c}"));
    let long = arg.get_long().map(|l| format!("--{l}"));
    let flags: Vec<String> = short.into_iter().chain(long).collect();
    let values: Vec<String> = match arg.get_action().takes_values() {
        true => arg
            .get_value_names()
            .unwrap_or_default()
            .iter()
            .map(|v| format!("<{v}>"))
            .collect(),
        false => Vec::new(),
    };
    let dots = if arg.is_positional() && arg.get_num_args().is_some_and(|n| n.max_values() > 1) {
        "..."
    } else {
        ""
    };
    let all: Vec<String> = [flags.join(", "), values.join(" ")]
        .into_iter()
        .filter(|s| !s.is_empty())
        .collect();
    format!("{}{dots}", all.join(" "))
}

/// A line of the list of arguments.
fn argument(arg: &Arg) -> String {
    let help = arg
        .get_long_help()
        .or(arg.get_help())
        .map(ToString::to_string)
        .unwrap_or_default();
    let mut lines = help.lines();
    let mut text = prose(lines.next().unwrap_or_default());
    let more: Vec<&str> = lines.filter(|l| !l.trim().is_empty()).collect();
    let possible: Vec<String> = arg
        .get_possible_values()
        .iter()
        .map(|v| format!("`{}`", v.get_name()))
        .collect();
    if !possible.is_empty() && arg.get_action().takes_values() {
        text += &format!(" One of {}.", possible.join(", "));
    }
    let defaults: Vec<String> = arg
        .get_default_values()
        .iter()
        .map(|v| v.to_string_lossy().into_owned())
        .collect();
    if !defaults.is_empty() && arg.get_action().takes_values() {
        text += &format!(" Default: `{}`.", defaults.join(","));
    }
    if arg.is_required_set() && !arg.is_positional() {
        text += " Required.";
    }
    let mut out = wrap("- ", &format!("`{}`: {text}", name(arg)));
    for line in more {
        out += &wrap("  - ", &prose(line));
    }
    out
}

/// A command and those below it.
fn describe(command: &mut Command, depth: usize, out: &mut String) {
    let path = command.get_bin_name().unwrap_or("amcl-wgpu").to_string();
    let about = command
        .get_long_about()
        .or(command.get_about())
        .map(ToString::to_string)
        .unwrap_or_default();
    *out += &format!(
        "\n{} {path}\n\n{}",
        "#".repeat(depth),
        wrap("", &prose(&about))
    );
    let usage = command.render_usage().to_string();
    *out += &format!("\n```text\n{}\n```\n", usage.trim_start_matches("Usage: "));
    let listed = |a: &&Arg| {
        !["help", "version"].contains(&a.get_id().as_str()) && (depth == 2 || !a.is_global_set())
    };
    let arguments: Vec<String> = command
        .get_arguments()
        .filter(listed)
        .map(argument)
        .collect();
    if !arguments.is_empty() {
        *out += &format!("\n{}", arguments.concat());
    }
    for sub in command
        .get_subcommands_mut()
        .filter(|c| c.get_name() != "help")
    {
        describe(sub, depth + 1, out);
    }
}

/// The page of all commands.
fn page() -> String {
    let mut command = Cli::command().term_width(WIDTH);
    command.build();
    let mut out = HEAD.to_string();
    describe(&mut command, 2, &mut out);
    out
}

/// What the page of settings begins with.
const SETTINGS: &str = "# Settings

<!-- Generated from the program's own sections: AMCL_WRITE=1 cargo test --bin amcl-wgpu reference -->

A configuration is TOML with these sections. `--config` reads a file, `--preset` one that comes with the program, and
`--set section.key=value` changes a setting of either. What is not set has the default below, or what the method is not
safe without ([Methods](methods.md#safeguards)). A run's `config.toml` holds all of them as they were resolved.

Unknown keys are refused with the nearest one, numbers outside their range with the range. `version` stands at the top
of a file: the version of its format. A file without it is of version 1 and keeps its meaning.
";

const FINETUNE: &str = "\
Settings of `eval finetune RUN --set KEY=VALUE`, with the defaults of the recipe `plain`. They stand in no
configuration.
";

/// A list of settings with their defaults, ranges and comments.
fn settings(section: &str, fields: &[Field], defaults: &Table) -> String {
    let mut out = String::new();
    for f in fields {
        let default = defaults
            .get(f.name)
            .map_or("nothing".into(), ToString::to_string);
        let range = f.range.map_or(String::new(), |r| format!("; {r}"));
        let doc = prose(&f.doc.replace('\n', " "));
        let line = format!("`{section}.{}`: {doc} Default `{default}`{range}.", f.name);
        out += &wrap("- ", &line);
    }
    out
}

/// The page of all settings: the sections, and under `[model]` and `[method]` what belongs to an encoder or a method.
fn settings_page() -> String {
    let all: Table = Config::default().to_toml().unwrap().parse().unwrap();
    let mut out = SETTINGS.to_string();
    for (section, fields) in Config::fields() {
        let defaults = all[section].as_table().unwrap();
        out += &format!("\n## {section}\n\n{}", settings(section, &fields, defaults));
        for (title, complete, fields) in below(section) {
            let own = complete(&Table::new()).unwrap();
            let list = match settings(section, &fields(), &own) {
                list if list.is_empty() => "It has no settings of its own.\n".into(),
                list => list,
            };
            out += &format!("\n### {title}\n\n{list}");
        }
    }
    let defaults = settings::table(&FinetuneSettings::default()).unwrap();
    let fields = FinetuneSettings::fields();
    let list = settings("finetune", &fields, &defaults);
    out += &format!("\n## Fine-tuning\n\n{FINETUNE}\n{list}");
    out
}

/// How settings are completed, and what they are.
type Own = (
    String,
    fn(&Table) -> Result<Table, String>,
    fn() -> Vec<Field>,
);

/// What has settings of its own in a section.
fn below(section: &str) -> Vec<Own> {
    match section {
        "model" => FAMILIES
            .iter()
            .map(|f| (f.names.join(", "), f.complete, f.fields))
            .collect(),
        "method" => METHODS
            .iter()
            .map(|m| (m.name.into(), m.complete, m.fields))
            .collect(),
        _ => Vec::new(),
    }
}

/// A page is what the program makes of it; with AMCL_WRITE it is written.
fn compare(file: &str, page: &str) {
    let path = root().join("docs/guide").join(file);
    if std::env::var_os("AMCL_WRITE").is_some() {
        std::fs::write(&path, page).unwrap();
    }
    let stands = std::fs::read_to_string(&path).unwrap();
    let different = stands.lines().zip(page.lines()).find(|(a, b)| a != b);
    assert!(
        stands == page,
        "docs/guide/{file} is not what the program says (it has {} lines of {}; {different:?}); \
         write it anew: AMCL_WRITE=1 cargo test --bin amcl-wgpu reference",
        stands.lines().count(),
        page.lines().count()
    );
}

#[test]
fn the_page_of_commands_is_what_the_program_says() {
    compare("cli.md", &page());
}

#[test]
fn the_page_of_settings_is_what_the_program_says() {
    let page = settings_page();
    compare("settings.md", &page);
    assert!(!page.contains("`: ."), "a setting without a comment");
}

/// The words of a line of a shell, without its comment.
///
/// # Errors
/// A quotation that does not end.
fn words(line: &str) -> Result<Vec<String>, String> {
    let (mut all, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.chars() {
        match (quote, c) {
            (Some(q), _) if c == q => quote = None,
            (Some(_), _) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, _) if c.is_whitespace() => all.extend(word.take()),
            (None, _) => word.get_or_insert_default().push(c),
        }
    }
    all.extend(word);
    match quote {
        Some(q) => Err(format!("a quotation {q} does not end")),
        None => Ok(all),
    }
}

/// The command that a line of a shell gives the program, if it gives it one: behind settings of the environment and
/// cargo's prefix, before a pipe or another command.
fn command_of(line: &str) -> Result<Option<Vec<String>>, String> {
    let all = words(line)?;
    let mut all = all
        .into_iter()
        .skip_while(|w| w.contains('=') && !w.starts_with('-'))
        .peekable();
    let mut taken: Vec<String> = Vec::new();
    if all.next_if(|w| w == "cargo").is_some() {
        let own: Vec<String> = all.by_ref().take_while(|w| w != "--").collect();
        if own.first().is_none_or(|w| w != "run") || own.iter().any(|w| w.starts_with("--example"))
        {
            return Ok(None);
        }
    } else if all
        .next_if(|w| w == "amcl-wgpu" || w.ends_with("/amcl-wgpu"))
        .is_none()
    {
        return Ok(None);
    }
    taken.push("amcl-wgpu".into());
    taken.extend(all.take_while(|w| !["|", ">", ">>", "&&", ";", "&"].contains(&w.as_str())));
    Ok(Some(taken))
}

/// Lines of the shell in a document: those of fenced blocks marked `sh`, with continued lines joined; indented ones and
/// code in the text that call this program. `VERB` and `SHELL` stand for words of the reader's.
fn lines(text: &str) -> Vec<String> {
    let calls =
        |l: &&str| l.starts_with("amcl-wgpu ") && !l.contains("VERB") && !l.contains("SHELL");
    let (mut fence, mut joined, mut out) = (None, String::new(), Vec::new());
    for line in text.lines() {
        let trimmed = line.trim_start();
        match (trimmed.strip_prefix("```"), fence) {
            (Some(mark), None) => fence = Some(mark.trim()),
            (Some(_), Some(_)) => fence = None,
            (None, Some("sh")) => {
                joined += line.trim_end();
                match joined.strip_suffix('\\') {
                    Some(part) => joined = part.to_string(),
                    None => out.push(std::mem::take(&mut joined)),
                }
            }
            (None, Some(_)) => (),
            (None, None) if line.starts_with("    ") => {
                let cargo = trimmed.starts_with("cargo run").then_some(trimmed);
                out.extend(cargo.or(Some(trimmed).filter(calls)).map(str::to_string));
            }
            (None, None) => {
                let code = line.split('`').skip(1).step_by(2);
                out.extend(code.filter(calls).map(str::to_string));
            }
        }
    }
    out
}

/// Does the program take the command? Flags, presets, methods, experiments, public sets, settings and their values.
fn take(command: &[String]) -> Result<(), String> {
    let matches = match Cli::command().try_get_matches_from(command) {
        Err(e) if !e.use_stderr() => return Ok(()), // --help and --version
        // A verb alone is a name.
        Err(e) if command.len() == 2 && e.kind() == ErrorKind::MissingRequiredArgument => {
            return Ok(());
        }
        other => other.map_err(|e| e.to_string())?,
    };
    let (verb, found) = matches.subcommand().ok_or("no verb")?;
    let found = found.subcommand().map_or(found, |(_, below)| below);
    let one = |id: &str| -> Option<String> { value(found, id) };
    let preset = match (verb, one("preset"), one("name")) {
        ("presets", _, Some(name)) => Some(name),
        (_, given, _) => given,
    };
    let text = preset
        .map_or(Ok(""), |p| Config::preset(&p))
        .map_err(|e| e.to_string())?;
    // A file of the reader's own is not here.
    let experiment = one("file").filter(|f| verb == "sweep" && !f.ends_with(".toml"));
    if let Some(name) = experiment {
        Experiment::open(&name).map_err(|e| e.to_string())?;
    }
    if let Some(name) = one("name").filter(|n| verb == "data" && SETS.iter().all(|s| s.name != n)) {
        return Err(format!("no data set `{name}`"));
    }
    let sets = found.try_get_many::<String>("set").ok().flatten();
    let mut sets: Vec<String> = sets.into_iter().flatten().cloned().collect();
    sets.extend(one("method").map(|m| format!("method.name={m:?}")));
    Config::parse(text, &sets)
        .map(drop)
        .map_err(|e| e.to_string())
}

/// The value of an argument that is text and that the command has.
fn value(found: &ArgMatches, id: &str) -> Option<String> {
    found.try_get_one::<String>(id).ok().flatten().cloned()
}

/// The documents with commands: the README, the guide, what contributors read.
fn documents() -> Vec<PathBuf> {
    let mut all = vec![root().join("README.md"), root().join("CONTRIBUTING.md")];
    for folder in ["docs", "docs/guide"] {
        let entries = std::fs::read_dir(root().join(folder)).unwrap();
        all.extend(
            entries
                .map(|e| e.unwrap().path())
                .filter(|p| p.extension().is_some_and(|e| e == "md")),
        );
    }
    all
}

#[test]
fn every_command_of_the_documents_is_one_that_the_program_takes() {
    let (mut wrong, mut taken) = (Vec::new(), 0);
    for file in documents() {
        for line in lines(&std::fs::read_to_string(&file).unwrap()) {
            match command_of(&line).and_then(|c| c.as_deref().map(take).transpose()) {
                Ok(done) => taken += usize::from(done.is_some()),
                Err(e) => wrong.push(format!("{}: {line}\n  {e}", file.display())),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(taken > 40, "only {taken} commands were found");
}

/// The check notices what a reader would stumble over.
#[test]
fn a_command_that_the_program_does_not_take_is_noticed() {
    for wrong in [
        "amcl-wgpu train --epoch 3",
        "amcl-wgpu trian",
        "amcl-wgpu train --preset simclr",
        "amcl-wgpu train --set optim.learning=1",
        "amcl-wgpu train --set optim.lr=-1",
        "amcl-wgpu presets quick",
        "amcl-wgpu sweep head",
        "amcl-wgpu eval knn",
        "amcl-wgpu train --method simclr2",
        "amcl-wgpu data download cifar",
        "AMCL_X=1 amcl-wgpu train --seed one # a comment",
        "cargo run --release -- train --epochs",
        "amcl-wgpu train 'FOLDER",
    ] {
        assert!(
            command_of(wrong).and_then(|c| take(&c.unwrap())).is_err(),
            "{wrong}"
        );
    }
    let block = "text `amcl-wgpu check` and `amcl-wgpu VERB`\n    amcl-wgpu devices\n```sh\namcl-wgpu train \\\n  \
                 --seed 1 | tee log # so\nls\n```\n```text\namcl-wgpu nonsense\n```\n";
    let found: Vec<_> = lines(block)
        .iter()
        .filter_map(|l| command_of(l).unwrap())
        .collect();
    assert_eq!(
        found.concat().join(" "),
        "amcl-wgpu check amcl-wgpu devices amcl-wgpu train --seed 1"
    );
    assert!(found.iter().all(|c| take(c).is_ok()));
}
