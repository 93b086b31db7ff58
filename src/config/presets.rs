//! The built-in configurations, `assets/presets/`, and what a method needs where a configuration does not say.

use super::Config;
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

/// Groups of batch norm that stand for the eight GPUs of MoCo's recipe.
const MOCO_GROUPS: usize = 8;

/// Sets what the method's own recipe (its presets) has, and without which it would leak, collapse or start wrongly, wherever it is not `given` (section, key): a method may be named on top of
/// another one's preset. What is given stays, whatever it is.
///
/// - moco: `method.bn_splits`, 8 or the most groups of at least two images that the (micro-)batch can be cut into: with one group, batch norm tells queries from their keys.
/// - simsiam: `heads.last` is `norm`, which its projector ends with. With AMCL, phi is as wide as d' (at least the usual width): temperatures start at 2 / (1 + exp(1/9 + d'/(3 width))), which a
///   narrow phi brings to the floor; beta 1e-4.
/// - barlow_twins with AMCL: beta 1e-6, for Omega is summed over all pairs of channels.
pub(super) fn complete(c: &mut Config, given: &dyn Fn(&str, &str) -> bool) {
    let adapts = c.amcl.enabled && c.amcl.switches.roles() != (false, false);
    let a = &mut c.amcl.switches;
    match c.method.name.as_str() {
        "moco" if !given("method", "bn_splits") => {
            let o = &c.optim;
            let batch = o.batch_size.checked_div(o.micro_batches).unwrap_or(0);
            let fits = |n: &usize| batch.is_multiple_of(*n) && batch / n >= 2;
            // Where no number fits, the check says so.
            c.method.bn_splits = (2..=MOCO_GROUPS).rev().find(fits).unwrap_or(MOCO_GROUPS);
        }
        "simsiam" => {
            if !given("heads", "last") {
                c.heads.last = "norm".into();
            }
            if adapts && !given("amcl", "phi_hidden") {
                a.phi_hidden = a.phi_hidden.max(c.heads.out);
            }
            if adapts && !given("amcl", "beta") {
                a.beta = 1e-4;
            }
        }
        "barlow_twins" if adapts && !given("amcl", "beta") => a.beta = 1e-6,
        _ => {}
    }
}
