//! The built-in configurations, `assets/presets/`.

use include_dir::{Dir, include_dir};
use std::sync::LazyLock;

/// Texts that come with the program, by name.
pub type Assets = LazyLock<Vec<(&'static str, &'static str)>>;

/// The files of a folder, name without ending and text, in the order of their names.
pub(crate) fn texts(folder: &'static Dir<'static>) -> Vec<(&'static str, &'static str)> {
    let mut all: Vec<_> = folder
        .files()
        .filter_map(|f| Some((f.path().file_stem()?.to_str()?, f.contents_utf8()?)))
        .collect();
    all.sort_unstable();
    all
}

/// Presets, name and text: the files of `assets/presets`. `quickstart` is the first, the others follow by name.
pub static PRESETS: Assets = Assets::new(|| {
    static FOLDER: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/assets/presets");
    let mut all = texts(&FOLDER);
    // A stable sort keeps the others as they are.
    all.sort_by_key(|p| p.0 != "quickstart");
    all
});
