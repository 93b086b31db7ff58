//! An HTML document around a page: it needs no other file and no network.

use maud::{DOCTYPE, Markup, PreEscaped, html};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// What a page says made it.
const GENERATOR: &str = "amcl-wgpu";

/// Is the file at `path` a page of this program?
pub(super) fn is_ours(path: &Path) -> bool {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|f| f.take(1024).read_to_end(&mut head));
    let mark = format!("<meta name=\"generator\" content=\"{GENERATOR}\">");
    read.is_ok() && String::from_utf8_lossy(&head).contains(&mark)
}

/// The document. `reload` is the number of seconds after which the browser loads it again.
pub(super) fn document(title: &str, reload: Option<u32>, body: &Markup) -> String {
    let style = PreEscaped(include_str!("../../assets/report/style.css"));
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="generator" content=(GENERATOR);
                meta name="viewport" content="width=device-width, initial-scale=1";
                @if let Some(seconds) = reload { meta http-equiv="refresh" content=(seconds); }
                title { (title) }
                style { (style) }
            }
            body { (body) }
        }
    }
    .into_string()
}
