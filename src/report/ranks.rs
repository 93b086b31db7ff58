//! How ranks spent their time, where several trained together.

use super::facts::Facts;
use maud::{Markup, html};

/// The ranks of the last epoch: seconds that each computed, stood still for others, and exchanged.
pub fn table(f: &Facts) -> Markup {
    let last = f.of("epoch").last();
    let ranks = last.and_then(|r| r["ranks"].as_array());
    let Some(ranks) = ranks else { return html! {} };
    let shown = |r: &serde_json::Value, key: &str| {
        r[key]
            .as_f64()
            .map_or("unknown".into(), |s| format!("{s:.2}"))
    };
    let devices = f.environment["ranks"].as_array();
    let device = |i: usize| {
        devices
            .and_then(|d| d.get(i)?.as_str())
            .unwrap_or("unknown")
    };
    html! {
        div.scroll tabindex="0" { table {
            tr { th { "rank" } th { "device" } th { "computed, s" } th { "waited, s" } th { "exchanged, s" } }
            @for (i, r) in ranks.iter().enumerate() { tr {
                td { (i) } td { (device(i)) }
                @for key in ["computed", "waited", "exchanged"] { td { (shown(r, key)) } }
            } }
        } }
        p.soft {
            "The last epoch's steps. A rank that waits least is the one that others wait for. Exchanges that went on \
             beside computing took no time of the steps."
        }
    }
}
