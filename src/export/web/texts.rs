//! What is the same in every folder: pages, their scripts and their style.

macro_rules! asset {
    ($name:literal) => {
        ($name, include_str!(concat!("../../../assets/web/", $name)))
    };
}

/// A page: its file's name and text. Which other files it takes follows from the text, which names them.
pub type Page = (&'static str, &'static str);

/// The encoder's page.
pub const ENCODER: Page = asset!("index.html");
/// The page that trains.
pub const TRAINING: Page = asset!("train.html");
/// The page of the case table.
pub const CHECK: Page = asset!("check.html");

/// What pages include.
const PARTS: [(&str, &str); 2] = [asset!("head.html"), asset!("trouble.html")];

/// What pages name.
const NAMED: [(&str, &str); 16] = [
    asset!("page.css"),
    asset!("player.js"),
    asset!("files.js"),
    asset!("trouble.js"),
    asset!("images.js"),
    asset!("inputs.js"),
    asset!("neighbours.js"),
    asset!("map.js"),
    asset!("page.js"),
    asset!("draws.js"),
    asset!("trainer.js"),
    asset!("plots.js"),
    asset!("pairs.js"),
    asset!("train.js"),
    asset!("judge.js"),
    asset!("check.js"),
];

/// A page and the files that it names, but those that are made for it.
pub fn of((name, text): Page) -> Vec<(&'static str, String)> {
    let mut page = text.to_string();
    for (part, text) in PARTS {
        page = page.replace(&format!("<!-- include {part} -->\n"), text);
    }
    let named = NAMED
        .iter()
        .filter(|(file, _)| page.contains(&format!("\"{file}\"")));
    let named: Vec<_> = named
        .map(|(file, text)| (*file, text.to_string()))
        .collect();
    [(name, page)].into_iter().chain(named).collect()
}
