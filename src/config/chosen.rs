//! The recipe for data that a user names without one: a preset by what the images are, and by their number the batch
//! and the epochs.

use super::presets::PRESETS;
use super::{Config, Result};
use crate::data::survey::{Kind, Survey};
use crate::methods::spec;

/// Up to this shorter side images get the recipe of CIFAR (32 px): halfway, by factors, from 32 to 64.
const SMALL: u32 = 45;
/// Up to this shorter side they get `photos-small` (96 px), beyond it `photos` (224 px): halfway, by factors, between
/// those two.
const MEDIUM: u32 = 146;
/// Steps of an epoch at least. Smaller sets get smaller batches.
const STEPS: usize = 4;
/// Training images of Imagenette, for which the presets' epochs are.
const IMAGENETTE: usize = 9_469;
/// Epochs of the largest sets: those of lightly's benchmark on ImageNet.
const FEWEST_EPOCHS: usize = 100;
/// Heads with AMCL on the presets of photos: those of the AMCL presets.
const AMCL_HEADS: usize = 3;
/// Below so many images, weights that were trained on more are the better start.
const FEW: usize = 1_000;

/// A recipe that was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// Its preset.
    pub preset: &'static str,
    /// Settings that differ from the preset's, as `section.key=value`. What the user gives goes on top.
    pub settings: Vec<String>,
    /// Which, and why, in one or two lines.
    pub why: String,
}

/// The value of a setting among `section.key=value`, without quotes. The last one wins.
fn value<'a>(given: &'a [String], key: &str) -> Option<&'a str> {
    let of = |g: &'a String| g.split_once('=').filter(|(k, _)| k.trim() == key);
    let last = given.iter().rev().find_map(of);
    last.map(|(_, v)| v.trim().trim_matches(['"', '\'']))
}

/// The preset of a public data set for the method that the user asks for, or SimCLR's where that method has none.
fn of_set(set: &str, given: &[String]) -> &'static str {
    let method = match value(given, "method.name").unwrap_or("simclr") {
        "barlow_twins" => "barlow",
        other => other,
    };
    let amcl = match value(given, "amcl.enabled") {
        Some("true") => "-amcl",
        _ => "",
    };
    let known = |name: &str| PRESETS.iter().map(|p| p.0).find(|p| *p == name);
    // What needs a Vision Transformer has one in its own presets alone.
    let similar = needs_vit(given).then(|| known(&format!("{method}{amcl}-cifar10")));
    known(&format!("{method}{amcl}-{set}"))
        .or(similar.flatten())
        .or_else(|| known(&format!("simclr-{set}")))
        .unwrap_or(PRESETS[0].0)
}

/// Does the method that the user asks for need a Vision Transformer?
fn needs_vit(given: &[String]) -> bool {
    let method = value(given, "method.name").map(spec);
    method.is_some_and(|m| m.is_ok_and(|m| m.needs_vit))
}

/// Chooses for data that are `found`. `given` are the user's own settings: what they fix is not chosen.
///
/// # Errors
/// None but those of a preset that does not parse.
pub fn choose(found: &Survey, given: &[String]) -> Result<Chosen> {
    // The presets of photos have a ResNet.
    let of_photos = |set: &str, other| match needs_vit(given) {
        true => of_set(set, given),
        false => other,
    };
    let (preset, what) = match found.kind {
        Kind::Cifar10 => (of_set("cifar10", given), "the data are CIFAR-10".into()),
        Kind::Cifar100 => (of_set("cifar100", given), "the data are CIFAR-100".into()),
        Kind::Stl10 => (of_set("stl10", given), "the data are STL-10".into()),
        Kind::Idx => (
            of_set("cifar10", given),
            "the data are IDX files of 28 px".into(),
        ),
        Kind::Files { side, sampled } => {
            let preset = if side <= SMALL {
                of_set("cifar10", given)
            } else if side <= MEDIUM {
                of_photos("stl10", "photos-small")
            } else {
                of_photos("imagenet", "photos")
            };
            let labels = match found.labelled {
                true => "with labels",
                false => "without labels",
            };
            let what = format!(
                "{} training images {labels}, median shorter side {side} px ({sampled} files looked at)",
                found.images
            );
            (preset, what)
        }
    };
    let settings = match found.kind {
        Kind::Files { .. } => by_count(preset, found.images, given)?,
        _ => Vec::new(),
    };
    let all: Vec<String> = settings.iter().chain(given).cloned().collect();
    let c = Config::parse(Config::preset(preset)?, &all)?;
    let mut why = format!(
        "recipe: preset {preset}, since {what}: {}, {} at {} px, batch {}, {} epochs; --preset, --config and --set win",
        c.method_title(),
        c.model.encoder,
        c.model.image_size,
        c.optim.batch_size,
        c.run.epochs,
    );
    if matches!(found.kind, Kind::Files { .. }) && found.images < FEW {
        why += &format!(
            "\nrecipe: {} images are few for training from nothing; --init FILE starts from weights trained on more",
            found.images
        );
    }
    Ok(Chosen {
        preset,
        settings,
        why,
    })
}

/// Batch, learning rate, epochs and, with AMCL, heads for so many images. A smaller batch has a learning rate smaller
/// in proportion (Goyal et al. 2017; the presets' sources do the same). Larger sets get fewer epochs, of as many steps
/// in all.
fn by_count(preset: &str, images: usize, given: &[String]) -> Result<Vec<String>> {
    let base = Config::parse(Config::preset(preset)?, &[])?;
    let (full, mut out) = (base.optim.batch_size, Vec::new());
    let most = (images / STEPS).max(2);
    // The largest power of two; one image cannot be a batch, and training says so.
    let batch = (1usize << most.ilog2()).min(full);
    if batch < full && value(given, "optim.batch_size").is_none() {
        out.push(format!("optim.batch_size={batch}"));
        // Parts of the preset's size, fewer of them.
        let parts = base.optim.micro_batches;
        let fewer = (batch * parts / full).max(1);
        if fewer < parts && value(given, "optim.micro_batches").is_none() {
            out.push(format!("optim.micro_batches={fewer}"));
        }
        if base.optim.blr == 0.0
            && value(given, "optim.lr").is_none()
            && value(given, "optim.blr").is_none()
        {
            let lr = f64::from(base.optim.lr) * batch as f64 / full as f64;
            out.push(format!("optim.lr={lr:.6}"));
        }
    }
    let photos = preset.starts_with("photos");
    if photos
        && value(given, "amcl.enabled") == Some("true")
        && value(given, "heads.count").is_none()
    {
        out.push(format!("heads.count={AMCL_HEADS}"));
    }
    let of_steps = base.run.epochs * IMAGENETTE / images.max(1);
    let epochs = of_steps.clamp(FEWEST_EPOCHS, base.run.epochs);
    if epochs < base.run.epochs && value(given, "run.epochs").is_none() {
        out.push(format!("run.epochs={epochs}"));
    }
    Ok(out)
}

/// What is said of a user's own images in the quickstart's network; none for other configurations.
pub fn only_a_trial(config: &Config) -> Option<String> {
    let tiny = config.model.encoder == "tiny" && config.data.path != "shapes";
    tiny.then(|| {
        format!(
            "recipe: only the quickstart's tiny network, at {} px: it shows that all works, and is no encoder to use; \
             without --preset a recipe is chosen for these images",
            config.model.image_size
        )
    })
}

/// The command that trains the quickstart's network on the same data; none where that is what is trained. A batch that
/// is smaller than the quickstart's stays, since the images may be fewer than that.
pub fn smaller(config: &Config) -> Option<String> {
    let quickstart = Config::parse(Config::preset("quickstart").ok()?, &[]).ok()?;
    if config.model.encoder == quickstart.model.encoder {
        return None;
    }
    let data = argument(&config.data.path);
    let batch = match config.optim.batch_size {
        n if n < quickstart.optim.batch_size => format!(" --batch-size {n}"),
        _ => String::new(),
    };
    Some(format!(
        "amcl-wgpu train --data {data} --preset quickstart{batch}"
    ))
}

/// A text as one argument of a command that is printed, for a POSIX shell: in quotes where it needs them.
pub(crate) fn argument(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+:,=".contains(c);
    match text.chars().all(plain) && !text.is_empty() {
        true => text.into(),
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(side: u32, images: usize) -> Survey {
        Survey {
            kind: Kind::Files { side, sampled: 9 },
            images,
            labelled: true,
        }
    }

    fn resolved(found: &Survey, given: &[&str]) -> (Chosen, Config) {
        let given: Vec<String> = given.iter().map(ToString::to_string).collect();
        let chosen = choose(found, &given).unwrap();
        let all: Vec<String> = chosen.settings.iter().chain(&given).cloned().collect();
        let config = Config::parse(Config::preset(chosen.preset).unwrap(), &all).unwrap();
        (chosen, config)
    }

    #[test]
    fn the_size_of_the_images_chooses_the_preset() {
        for (side, preset) in [
            (1, "simclr-cifar10"),
            (45, "simclr-cifar10"),
            (46, "photos-small"),
            (146, "photos-small"),
            (147, "photos"),
            (4000, "photos"),
        ] {
            let (chosen, c) = resolved(&files(side, IMAGENETTE), &[]);
            assert_eq!(chosen.preset, preset, "{side}");
            assert!(chosen.settings.is_empty(), "{:?}", chosen.settings);
            assert!(chosen.why.contains(&format!("{side} px")), "{}", chosen.why);
            assert_eq!(c.run.epochs, 800);
        }
    }

    #[test]
    fn the_number_of_images_chooses_batch_and_epochs() {
        for (images, batch, lr, epochs) in [
            (9_469, 256, 0.06, 800),
            (18_938, 256, 0.06, 400),
            (1_281_167, 256, 0.06, 100),
            (1_023, 128, 0.03, 800),
            (100, 16, 0.00375, 800),
            (3, 2, 0.000469, 800),
        ] {
            let (chosen, c) = resolved(&files(300, images), &[]);
            let got = (c.optim.batch_size, c.run.epochs);
            assert_eq!(got, (batch, epochs), "{images}");
            assert!((c.optim.lr - lr).abs() < 1e-7, "{images}: {}", c.optim.lr);
            let warned = chosen.why.contains("few for training");
            assert_eq!(warned, images < FEW, "{images}: {}", chosen.why);
        }
    }

    #[test]
    fn methods_that_hide_patches_get_a_vision_transformer() {
        let mae = ["method.name=mae"];
        for (side, preset, batch, parts) in [
            (32, "mae-cifar10", 512, 1),
            (100, "mae-stl10", 512, 1),
            (500, "mae-imagenet", 2048, 8),
        ] {
            let (chosen, c) = resolved(&files(side, IMAGENETTE), &mae);
            assert_eq!(chosen.preset, preset);
            let got = (c.optim.batch_size, c.optim.micro_batches);
            assert_eq!(got, (batch, parts), "{preset}");
        }
        let can = ["method.name=can", "amcl.enabled=true"];
        let (chosen, c) = resolved(&files(500, 100), &can);
        assert_eq!(chosen.preset, "can-amcl-imagenet");
        assert_eq!((c.optim.batch_size, c.optim.micro_batches), (16, 1));
        // There is none for CIFAR-100.
        let cifar100 = Survey {
            kind: Kind::Cifar100,
            ..files(32, 0)
        };
        assert_eq!(resolved(&cifar100, &mae).0.preset, "mae-cifar10");
    }

    #[test]
    fn what_the_user_gives_wins() {
        let (chosen, c) = resolved(&files(300, 100), &["optim.batch_size=50", "run.epochs=3"]);
        assert_eq!((c.optim.batch_size, c.run.epochs), (50, 3));
        assert_eq!(c.optim.lr, 0.06, "the rate is not moved for another batch");
        assert!(chosen.why.contains("batch 50, 3 epochs"), "{}", chosen.why);
        let (_, c) = resolved(&files(300, 100), &["optim.lr=0.5"]);
        assert_eq!((c.optim.batch_size, c.optim.lr), (16, 0.5));
        // AMCL has its three heads on the presets of photos too.
        let (_, c) = resolved(&files(300, 5_000), &["amcl.enabled=true"]);
        assert_eq!(c.heads.count, 3);
    }

    #[test]
    fn public_sets_get_the_preset_of_the_method() {
        let found = |kind| Survey {
            kind,
            images: 0,
            labelled: true,
        };
        for (kind, given, preset) in [
            (Kind::Cifar10, &[][..], "simclr-cifar10"),
            (
                Kind::Cifar100,
                &["method.name=\"moco\"", "amcl.enabled=true"],
                "moco-amcl-cifar100",
            ),
            (
                Kind::Stl10,
                &["method.name=\"barlow_twins\""],
                "barlow-stl10",
            ),
            // There is no preset of BYOL for STL-10.
            (Kind::Stl10, &["method.name=\"byol\""], "simclr-stl10"),
            (Kind::Idx, &[], "simclr-cifar10"),
        ] {
            assert_eq!(
                resolved(&found(kind), given).0.preset,
                preset,
                "{kind:?} {given:?}"
            );
        }
    }

    #[test]
    fn the_tiny_network_is_told_and_the_others_offer_it() {
        let quickstart = Config::preset("quickstart").unwrap();
        let own = Config::parse(quickstart, &["data.path=my photos".into()]).unwrap();
        assert!(only_a_trial(&own).unwrap().contains("tiny network"));
        assert_eq!(smaller(&own), None);
        let shapes = Config::parse(quickstart, &[]).unwrap();
        assert_eq!(only_a_trial(&shapes), None);
        let photos = Config::preset("photos").unwrap();
        let photos = Config::parse(photos, &["data.path=it's".into()]).unwrap();
        assert_eq!(only_a_trial(&photos), None);
        assert_eq!(
            smaller(&photos).unwrap(),
            r"amcl-wgpu train --data 'it'\''s' --preset quickstart"
        );
        let mut few = photos;
        few.optim.batch_size = 16;
        assert!(smaller(&few).unwrap().ends_with(" --batch-size 16"));
    }
}
