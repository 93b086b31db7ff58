//! An HTML document around a page: it needs no other file and no network.

use maud::{DOCTYPE, Markup, PreEscaped, html};

/// The document. `reload` is the number of seconds after which the browser loads it again.
pub(super) fn document(title: &str, reload: Option<u32>, body: &Markup) -> String {
    let style = PreEscaped(include_str!("../../assets/report/style.css"));
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
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
