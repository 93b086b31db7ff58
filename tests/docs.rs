//! The documents for users, held against the program: links lead somewhere, tables of methods are complete, lines are
//! short. Commands are tested where clap's definition is: `src/cli/reference.rs`.

use amcl_wgpu::methods::METHODS;
use std::path::{Path, PathBuf};

/// Columns of a line.
const WIDTH: usize = 120;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// README, changelog, contributing, and the pages of a folder.
fn documents(folder: &str) -> Vec<(PathBuf, String)> {
    let mut all = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md"]
        .map(|f| root().join(f))
        .to_vec();
    let pages = std::fs::read_dir(root().join(folder)).unwrap();
    all.extend(
        pages
            .map(|e| e.unwrap().path())
            .filter(|p| p.extension().is_some_and(|e| e == "md")),
    );
    all.sort();
    let read = |p: PathBuf| {
        let text = std::fs::read_to_string(&p).unwrap();
        (p, text)
    };
    all.into_iter().map(read).collect()
}

/// Lines outside of fenced blocks.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    text.lines().filter(move |l| {
        let fence = l.trim_start().starts_with("```");
        inside ^= fence;
        !inside && !fence
    })
}

/// Targets of links and pictures.
fn targets(text: &str) -> Vec<String> {
    let parts = prose(text).flat_map(|l| l.split("](").skip(1));
    parts
        .filter_map(|p| p.split_once(')'))
        .map(|(target, _)| target.into())
        .collect()
}

/// The anchors of a page: its headings in small letters, blanks as hyphens, other signs left out.
fn anchors(text: &str) -> Vec<String> {
    let headings = prose(text).filter(|l| l.starts_with('#'));
    let anchor = |l: &str| {
        let kept = l.trim_start_matches('#').trim().to_lowercase();
        let kept = kept
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.collect::<String>().replace(' ', "-")
    };
    headings.map(anchor).collect()
}

/// Links of a document that lead nowhere.
fn dead(file: &Path, text: &str) -> Vec<String> {
    let broken = |target: &String| {
        if target.contains("://") {
            return false;
        }
        let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
        let to = match path {
            "" => file.to_path_buf(),
            path => file.parent().unwrap().join(path),
        };
        if anchor.is_empty() {
            return !to.exists();
        }
        std::fs::read_to_string(&to)
            .map_or(true, |page| !anchors(&page).iter().any(|a| a == anchor))
    };
    targets(text).into_iter().filter(broken).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut links = 0;
    for folder in ["docs", "docs/guide", "docs/results", "docs/results/devices"] {
        for (file, text) in documents(folder) {
            links += targets(&text).len();
            assert_eq!(dead(&file, &text), [""; 0], "{}", file.display());
        }
    }
    assert!(links > 60, "only {links} links were found");
    let (file, text) = (
        root().join("README.md"),
        "[a](no/such.md) [b](LICENSE-MIT) [c](README.md#no-such)",
    );
    assert_eq!(dead(&file, text), ["no/such.md", "README.md#no-such"]);
}

#[test]
fn the_guide_lists_all_its_pages() {
    let index = std::fs::read_to_string(root().join("docs/guide/README.md")).unwrap();
    let listed = targets(&index);
    for (file, _) in documents("docs/guide") {
        let name = file.file_name().unwrap().to_str().unwrap();
        if file.parent().unwrap().ends_with("guide") && name != "README.md" {
            assert!(
                listed.iter().any(|l| l == name),
                "docs/guide/README.md does not list {name}"
            );
        }
    }
}

/// Names in the first column of the table whose head begins with `head`, with the whole rows.
fn table<'a>(text: &'a str, head: &str) -> Vec<(&'a str, &'a str)> {
    let rows = text.lines().skip_while(|l| !l.starts_with(head)).skip(2);
    let rows = rows.take_while(|l| l.starts_with('|'));
    rows.map(|l| (l.split('`').nth(1).unwrap_or_default(), l))
        .collect()
}

/// Both tables of methods hold every method, in the program's order, and say whether AMCL is defined for it.
#[test]
fn tables_of_methods_are_complete() {
    for page in ["README.md", "docs/guide/methods.md"] {
        let text = std::fs::read_to_string(root().join(page)).unwrap();
        let rows = table(&text, "| `--method` |");
        let names: Vec<&str> = rows.iter().map(|r| r.0).collect();
        let all: Vec<&str> = METHODS.iter().map(|m| m.name).collect();
        assert_eq!(names, all, "{page}");
        for (spec, (_, row)) in METHODS.iter().zip(rows) {
            let without = row.ends_with("| no |") || row.contains("not defined");
            assert_eq!(without, !spec.amcl, "{page}: {row}");
        }
    }
}

#[test]
fn lines_are_short() {
    for (file, text) in documents("docs/guide") {
        for (number, line) in text.lines().enumerate() {
            let columns = line.chars().count();
            assert!(
                columns <= WIDTH,
                "{}:{}: {columns} columns",
                file.display(),
                number + 1
            );
        }
    }
}
