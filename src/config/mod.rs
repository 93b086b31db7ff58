//! The configuration: TOML sections, presets, overrides. Unknown keys are refused with the nearest known one, numbers
//! outside their range with the range.

pub mod chosen;
pub mod method;
pub mod presets;
pub(crate) mod sections;
pub mod synonyms;

mod error;
mod keys;
mod layer_rates;
mod parts;
mod version;

pub use crate::methods::recipe::{AmclSettings, Heads, LossSettings, Schedule};
pub use crate::nn::Precision;
pub use error::{ConfigError, Result};
pub use sections::{
    BATCH, Data, Decays, Dist, EPOCHS, LAYER_DECAY, LEAST_RATE, MOMENTUM, MethodSettings,
    ModelSettings, Moves, NEIGHBOURS, Optim, RATE, RunSettings, ScheduleSettings, TrustNorm, VOTES,
    WEIGHT_DECAY,
};
pub use version::VERSION;

use crate::data::Reading;
use crate::data::augment::Policy;
use crate::methods::{self, Chosen, Recipe, Spec, recipe::Batches};
use crate::nn::backbones::{self, Backbone};
use crate::settings::{self, Field, Section, did_you_mean, nearest};
use keys::{
    drop_heads_of_another, drop_settings_of_another, kind_of_value, of_all_encoders,
    of_all_methods, one_rate, overridden, refuse_unknown_keys,
};
use presets::PRESETS;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use toml::{Table, Value};

/// A complete configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Version of the file's format.
    pub version: i64,
    /// Data.
    pub data: Data,
    /// Augmentation.
    pub augment: Policy,
    /// Encoder.
    pub model: ModelSettings,
    /// Method.
    pub method: MethodSettings,
    /// Heads.
    pub heads: Heads,
    /// AMCL.
    pub amcl: AmclSettings,
    /// Plain loss.
    pub loss: LossSettings,
    /// Optimiser.
    pub optim: Optim,
    /// Schedule.
    pub schedule: ScheduleSettings,
    /// Run.
    pub run: RunSettings,
    /// Ranks.
    pub dist: Dist,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            version: VERSION,
            data: Data::default(),
            augment: Policy::default(),
            model: ModelSettings::default(),
            method: MethodSettings::default(),
            heads: Heads::default(),
            amcl: AmclSettings::default(),
            loss: LossSettings::default(),
            optim: Optim::default(),
            schedule: ScheduleSettings::default(),
            run: RunSettings::default(),
            dist: Dist::default(),
        }
    }
}

/// A fault of a file or an override, in words.
fn fault(e: impl std::fmt::Display) -> ConfigError {
    ConfigError(format!("configuration: {e}"))
}

impl Config {
    /// Opens the data set that the configuration names.
    ///
    /// # Errors
    /// As [`crate::data::open`].
    pub fn open_data(
        &self,
        progress: &(dyn Fn(usize, usize) + Sync),
    ) -> std::result::Result<crate::data::Split, crate::data::DataError> {
        let request = self.data_request(progress);
        match self.data.cache.as_str() {
            "" => crate::data::open(&request),
            cache => crate::data::pack::open_cached(&request, cache.as_ref()),
        }
    }

    /// What [`Config::open_data`] asks for.
    pub fn data_request<'a>(
        &'a self,
        progress: &'a (dyn Fn(usize, usize) + Sync),
    ) -> crate::data::Request<'a> {
        let d = &self.data;
        let size = self.model.image_size;
        crate::data::Request {
            path: &d.path,
            seed: self.run.seed,
            shapes: (d.shapes_train, d.shapes_test),
            stored_size: match (d.stored_size, crate::data::pack::kept_as(&d.path)) {
                (0, Some((_, packed))) => packed,
                (0, None) if size <= 64 => size,
                (0, None) => size * 256 / 224,
                (n, _) => n,
            },
            unlabeled: d.unlabeled,
            fold: usize::try_from(d.fold).ok(),
            reading: Reading {
                version: d.pixels,
                exif: d.exif,
                alpha: d.alpha,
                decoder: d.decoder,
                kept: d.stored,
            },
            list: (!d.list.is_empty()).then(|| std::path::Path::new(&d.list)),
            keeping: crate::data::Keeping {
                memory: (d.memory_mib as u64) << 20,
                ahead: (d.readahead_mib as u64) << 20,
                threads: d.threads,
                max_bad: d.max_bad,
            },
            progress,
        }
    }

    /// Parses TOML text on top of the defaults, then applies `key=value` overrides (`optim.lr=0.1`). What neither
    /// sets and the method is not safe without is the method's ([`Spec::safeguards`]). Where an override names
    /// another method than the text, the text's settings of the other method are left out.
    ///
    /// # Errors
    /// Syntax, unknown keys (with the nearest known one), wrong types, impossible values.
    pub fn parse(text: &str, overrides: &[String]) -> Result<Self> {
        let mut table = settings::parse(text).map_err(fault)?;
        let mut set = overridden(overrides)?;
        for (section, field, value) in &mut set {
            version::rename(section, field, value);
        }
        let named = set
            .iter()
            .rev()
            .find(|(s, key, _)| s == "method" && key == "name");
        let method = named.and_then(|(_, _, name)| name.as_str());
        version::migrate(&mut table, method).map_err(fault)?;
        for (section, own, keys) in [
            ("method", "name", of_all_methods as fn() -> Vec<String>),
            ("model", "encoder", of_all_encoders),
        ] {
            drop_settings_of_another(&mut table, &set, section, own, &keys());
        }
        one_rate(&mut table, &set)?;
        drop_heads_of_another(&mut table, method);
        for (section, field, value) in set {
            let entry = table
                .entry(section.clone())
                .or_insert_with(|| Table::new().into());
            match entry {
                Value::Table(t) => t.insert(field, value),
                _ => return Err(fault(format!("`{section}` is not a section"))),
            };
        }
        refuse_unknown_keys(&table)?;
        for (section, fields) in Self::fields() {
            if let Some(given) = table.get(section).and_then(Value::as_table) {
                settings::check_given(section, given, &fields).map_err(fault)?;
            }
        }
        let mut c: Self = settings::typed(&table).map_err(|e| kind_of_value(&table, e))?;
        let (family, spec) = (
            backbones::family(&c.model.encoder),
            methods::spec(&c.method.name),
        );
        let (family, spec) = (family.map_err(ConfigError)?, spec.map_err(ConfigError)?);
        // A preset's own warm-up stays where an override makes the run shorter: the run tells.
        c.warms_up(|key| overrides.iter().any(|o| o.trim_start().starts_with(key)))?;
        c.model.settings = (family.complete)(&c.model.settings).map_err(fault)?;
        c.method.settings = (spec.complete)(&c.method.settings).map_err(fault)?;
        let given = |section: &str, key: &str| {
            let section = table.get(section).and_then(Value::as_table);
            section.is_some_and(|t| t.contains_key(key))
        };
        let mut recipe = c.recipe();
        (spec.safeguards)(&mut recipe, &given);
        (c.method.settings, c.heads, c.amcl) = (recipe.settings, recipe.heads, recipe.amcl);
        (c.model.settings, c.optim.layer_rates) = (recipe.model, recipe.layer_rates);
        c.check()?;
        Ok(c)
    }

    /// Refuses a warm-up that is longer than the run, of those keys that were `asked` for.
    ///
    /// # Errors
    /// Names the key and its range.
    pub fn warms_up(&self, asked: impl Fn(&str) -> bool) -> Result<()> {
        for (key, value) in [
            ("schedule.warmup_epochs", self.schedule.warmup_epochs),
            ("amcl.warmup_epochs", self.amcl.switches.warmup_epochs),
        ] {
            if asked(key) && value > self.run.epochs {
                return Err(fault(format!(
                    "{key} is {value}; it must be from 0 to run.epochs, {}",
                    self.run.epochs
                )));
            }
        }
        Ok(())
    }

    /// The text of a preset.
    ///
    /// # Errors
    /// No such preset; lists them.
    pub fn preset(name: &str) -> Result<&'static str> {
        let found = PRESETS.iter().find(|p| p.0 == name);
        found.map(|p| p.1).ok_or_else(|| {
            let all: Vec<&str> = PRESETS.iter().map(|p| p.0).collect();
            ConfigError(format!(
                "no preset `{name}`; did you mean {}? There are: {}",
                nearest(name, all.iter().copied()).unwrap_or_default(),
                all.join(", ")
            ))
        })
    }

    /// What its method reads of it.
    pub fn recipe(&self) -> Recipe {
        let o = &self.optim;
        Recipe {
            settings: self.method.settings.clone(),
            model: self.model.settings.clone(),
            heads: self.heads.clone(),
            amcl: self.amcl.clone(),
            loss: self.loss.clone(),
            batch: Batches {
                images: o.batch_size,
                ranks: self.dist.ranks,
                parts: self.parts(),
                micro: o.micro_batches,
                cached: o.gradient_cache,
                one_norm: self.model.sync_bn,
            },
            layer_rates: o.layer_rates.clone(),
        }
    }

    /// What its method says of itself.
    ///
    /// # Errors
    /// No such method.
    pub fn spec(&self) -> Result<&'static Spec> {
        methods::spec(&self.method.name).map_err(ConfigError)
    }

    /// The encoder that it names.
    ///
    /// # Errors
    /// No such encoder, settings that are not its.
    pub fn backbone(&self) -> Result<Arc<dyn Backbone>> {
        let family = backbones::family(&self.model.encoder).map_err(ConfigError)?;
        let m = &self.model;
        (family.build)(&m.encoder, &m.settings, m.image_size).map_err(ConfigError)
    }

    /// Every number must be in its range, the optimiser known, and the batch such that it can be cut.
    ///
    /// # Errors
    /// Says which setting is not, and what would do.
    pub fn check_numbers(&self) -> Result<()> {
        let o = &self.optim;
        self.data.check_ranges("data").map_err(ConfigError)?;
        self.augment.validate().map_err(ConfigError)?;
        self.model.check_ranges("model").map_err(ConfigError)?;
        self.heads.check_ranges("heads").map_err(ConfigError)?;
        self.amcl.check_ranges("amcl").map_err(ConfigError)?;
        self.loss.check_ranges("loss").map_err(ConfigError)?;
        o.check_ranges("optim").map_err(ConfigError)?;
        self.schedule
            .check_ranges("schedule")
            .map_err(ConfigError)?;
        self.run.check_ranges("run").map_err(ConfigError)?;
        if !OPTIMISERS.contains(&o.name.as_str()) {
            let all = did_you_mean(&o.name, OPTIMISERS.iter().copied());
            return Err(ConfigError(format!(
                "optim.name: no optimiser `{}`; {all}",
                o.name
            )));
        }
        if self.schedule.min_lr > o.rate() {
            return Err(ConfigError(format!(
                "schedule.min_lr {} is more than the learning rate, {}; it is where the rate ends",
                self.schedule.min_lr,
                o.rate()
            )));
        }
        self.dist.check_ranges("dist").map_err(ConfigError)?;
        if self.model.sync_bn && self.has_micro_batches() {
            return Err(ConfigError(
                "model.sync_bn takes the statistics of the whole batch, of which a rank with micro-batches holds one \
                 at a time: set optim.micro_batches = 1 and no dist.shares, or model.sync_bn = false"
                    .into(),
            ));
        }
        self.can_be_cut()
    }

    /// What it asks must be possible.
    ///
    /// # Errors
    /// Says which setting is not, and what would do.
    pub fn check(&self) -> Result<()> {
        self.check_numbers()?;
        let backbone = self.backbone()?;
        let encoder = Chosen {
            name: &self.model.encoder,
            image_size: self.model.image_size,
            backbone: backbone.as_ref(),
        };
        self.optim.layer_scales(backbone.as_ref())?;
        self.spec()?
            .check(&self.recipe(), &encoder)
            .map_err(ConfigError)
    }

    /// The settings of every section with their ranges, but for those of methods and of families of encoders.
    pub fn fields() -> [(&'static str, Vec<Field>); 11] {
        [
            ("data", Data::fields()),
            ("augment", Policy::fields()),
            ("model", ModelSettings::fields()),
            ("method", MethodSettings::fields()),
            ("heads", Heads::fields()),
            ("amcl", AmclSettings::fields()),
            ("loss", LossSettings::fields()),
            ("optim", Optim::fields()),
            ("schedule", ScheduleSettings::fields()),
            ("run", RunSettings::fields()),
            ("dist", Dist::fields()),
        ]
    }

    /// All keys that there are, `section.key`, those of every method and family among them.
    pub fn keys() -> Vec<String> {
        let own = Self::fields().into_iter();
        let mut all: Vec<String> = own
            .flat_map(|(s, fields)| fields.into_iter().map(move |f| format!("{s}.{}", f.name)))
            .collect();
        let of = |section: &str, keys: Vec<String>| {
            let keys = keys.iter();
            keys.map(|k| format!("{section}.{k}")).collect::<Vec<_>>()
        };
        all.extend(of("method", of_all_methods()));
        all.extend(of("model", of_all_encoders()));
        let mut seen = std::collections::BTreeSet::new();
        all.retain(|k| seen.insert(k.clone()));
        all
    }

    /// The method and its loss, for people.
    pub fn method_title(&self) -> String {
        let heads = self.heads.count;
        let name = self.spec().map_or(self.method.name.as_str(), |s| s.title);
        match (self.amcl.enabled, self.loss.schedule) {
            (true, _) => format!("{name} + AMCL, {heads} heads"),
            (false, Schedule::Macl) => format!("{name} with MACL"),
            (false, _) => name.into(),
        }
    }

    /// The configuration as TOML. It has `optim.blr` or `optim.lr`, whichever counts, so that whoever changes the
    /// batch of a run with `blr` gets another rate.
    ///
    /// # Errors
    /// Values that TOML cannot hold.
    pub fn to_toml(&self) -> Result<String> {
        if self.optim.blr == 0.0 {
            return toml::to_string_pretty(self).map_err(|e| ConfigError(e.to_string()));
        }
        let mut table = settings::table(self).map_err(ConfigError)?;
        if let Some(Value::Table(optim)) = table.get_mut("optim") {
            optim.remove("lr");
        }
        toml::to_string_pretty(&table).map_err(|e| ConfigError(e.to_string()))
    }
}

/// Optimisers, [`Optim::name`].
pub const OPTIMISERS: [&str; 3] = ["sgd", "adamw", "lars"];

#[cfg(test)]
mod tests {
    use super::*;

    /// One of lr and blr counts; the file that a run keeps says which.
    #[test]
    fn the_rate_of_256_images() {
        let of = |text: &str, set: &[&str]| {
            let set: Vec<String> = set.iter().map(ToString::to_string).collect();
            Config::parse(text, &set).map_err(|e| e.to_string())
        };
        let blr = "[optim]\nblr = 1.5e-4\nbatch_size = 512";
        let c = of(blr, &[]).unwrap();
        assert_eq!(c.optim.rate(), 3e-4);
        let said = c.optim.rate_in_words().unwrap();
        assert_eq!(said, "learning rate 1.5e-4 x 512 / 256 = 3e-4");
        let kept = c.to_toml().unwrap();
        assert!(!kept.contains("\nlr = "), "{kept}");
        assert_eq!(of(&kept, &[]).unwrap(), c);
        // What is kept follows another batch, and an override of the one takes the place of the other.
        let larger = of(&kept, &["optim.batch_size=1024"]).unwrap();
        assert_eq!(larger.optim.rate(), 6e-4);
        let plain = of(&kept, &["optim.lr=0.1"]).unwrap();
        assert_eq!((plain.optim.rate(), plain.optim.blr), (0.1, 0.0));
        assert_eq!(plain.optim.rate_in_words(), None);
        let scaled = of(
            "[optim]\nlr = 0.5",
            &["optim.blr=0.1", "optim.batch_size=512"],
        );
        assert_eq!(scaled.unwrap().optim.rate(), 0.2);
        for (text, set) in [
            ("[optim]\nlr = 0.1\nblr = 0.1", &[][..]),
            ("", &["optim.lr=0.1", "optim.blr=0.1"]),
        ] {
            let e = of(text, set).unwrap_err();
            assert!(e.contains("give one of them") && !e.contains('\n'), "{e}");
        }
        assert!(of("[optim]\nlr = 0.1\nblr = 0", &[]).is_ok());
        let e = of("", &["schedule.min_lr=0.1"]).unwrap_err();
        assert!(
            e.contains("schedule.min_lr 0.1 is more than the learning rate, 0.06"),
            "{e}"
        );
        assert!(of("", &["optim.blr=-1"]).is_err());
    }

    /// The older name of `optim.decay`, in files and as an override.
    #[test]
    fn what_decays_under_its_older_name() {
        let of = |text: &str, set: &[&str]| {
            let set: Vec<String> = set.iter().map(ToString::to_string).collect();
            Config::parse(text, &set).map(|c| c.optim.decay)
        };
        let old = "[optim]\nexclude_bias_and_norm = true";
        assert_eq!(of(old, &[]).unwrap(), Decays::NoVectors);
        assert_eq!(
            of(&format!("version = 3\n{old}"), &[]).unwrap(),
            Decays::NoVectors
        );
        assert_eq!(of(&old.replace("true", "false"), &[]).unwrap(), Decays::All);
        let set = &["optim.exclude_bias_and_norm=true"];
        assert_eq!(of("", set).unwrap(), Decays::NoVectors);
        assert_eq!(
            of(old, &["optim.decay=no_tokens"]).unwrap(),
            Decays::NoTokens
        );
        let e = of(&format!("{old}\ndecay = \"all\""), &[]).unwrap_err();
        assert!(e.to_string().contains("under its older name too"), "{e}");
    }

    #[test]
    fn presets_parse_and_resolve_to_themselves() {
        for (name, text) in PRESETS.iter() {
            let c = Config::parse(text, &[]).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(
                Config::parse(&c.to_toml().unwrap(), &[]).unwrap(),
                c,
                "{name}"
            );
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (text, over, want) in [
            (
                "[optim]\nlearning_rate = 1",
                "",
                "no key optim.learning_rate",
            ),
            ("[optim]\nlr_ = 1", "", "did you mean optim.lr?"),
            ("[optimm]\nzz = 1", "", "did you mean [optim]?"),
            ("[optimm]\nlr = 1", "", "did you mean optim.lr?"),
            ("", "run.epoch=3", "did you mean run.epochs?"),
            ("", "amcl.kapa=3", "did you mean amcl.kappa?"),
            ("", "epochs=3", "not section.key"),
            ("", "optim.micro_batches=3", "multiple of"),
            ("", "amcl.tau_min=3", "tau_min"),
            ("", "optim.lr=0", "optim.lr is 0; it must be larger than 0"),
            ("", "run.knn_t=nan", "run.knn_t is NaN"),
            ("", "optim.name=sgdd", "did you mean sgd?"),
            ("", "model.encoder=resnet81", "did you mean resnet18?"),
            ("", "optim.nesterov=1", "optim.nesterov is 1: "),
            ("", "optim.precision=half", "optim.precision is \"half\": "),
            ("a = 1\n[optim]\nlr == 3", "", "line 3"),
            ("", "optim.learning_rate=1", "did you mean optim.lr?"),
            ("", "temperature=1", "did you mean loss.temperature"),
            ("", "schedule.warmup_epochs=21", "from 0 to run.epochs, 20"),
            ("", "data.num_workers=4", "there is none"),
            (
                "",
                "method.queue=64",
                "no key method.queue; it is a setting of moco",
            ),
            (
                "[method]\nname = \"moco\"\nqueu = 3",
                "",
                "did you mean method.queue?",
            ),
            ("", "model.patch=4", "no key model.patch"),
            ("", "method.name=mocco", "there are simclr, moco"),
            (
                "version = 2\n[method]\nname = \"byol\"\nqueue = 3",
                "",
                "no key method.queue",
            ),
        ] {
            let over: Vec<String> = if over.is_empty() {
                vec![]
            } else {
                vec![over.into()]
            };
            let e = Config::parse(text, &over).unwrap_err().to_string();
            assert!(e.contains(want), "{text} {over:?}: {e}");
        }
        let c = Config::parse("", &["run.epochs=3".into(), "data.path=a b".into()]).unwrap();
        assert_eq!((c.run.epochs, c.data.path.as_str()), (3, "a b"));
    }

    #[test]
    fn another_method_takes_the_preset_s_settings_that_it_has() {
        let moco = "version = 2\n[method]\nname = \"moco\"\nqueue = 512\nmomentum = 0.5";
        let c = Config::parse(moco, &["method.name=byol".into()]).unwrap();
        assert_eq!(c.method.settings["momentum"].as_float(), Some(0.5));
        assert!(!c.method.settings.contains_key("queue"));
        // What an override says itself is checked strictly.
        let both = ["method.name=byol".to_string(), "method.queue=3".into()];
        assert!(Config::parse(moco, &both).is_err());
    }
}
