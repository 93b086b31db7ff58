//! The section of a Vision Transformer's page that shows what its class token looks at.

use super::page::inline;
use crate::eval::attention::{HEADS, Picture};
use maud::{Markup, html};

/// The picture, with what its columns are.
pub(super) fn section(p: &Picture) -> Markup {
    let shown = p.heads.min(HEADS);
    let heads = match (shown, p.heads) {
        (1, 1) => "its one head".to_string(),
        (all, of) if all == of => format!("heads 1 to {all}"),
        (some, of) => format!("heads 1 to {some} of {of}"),
    };
    html! {
        h2 id="attention" { "Attention" }
        p.soft {
            "What the class token looks at in the last block. Columns: the image, the mean over the heads, " (heads)
            ". Yellow patches have the largest weight of their picture, violet ones none; there are "
            (p.grid) "x" (p.grid) " patches."
        }
        @match p.png() {
            Ok(png) => { img.sheet src=(inline(&png)) alt="The class token's attention, laid over test images"; }
            Err(e) => { p { (e) } }
        }
    }
}
