//! Versions of configuration files. `version` stands at the top of a file; a file without it is of version 1, and a
//! text that sets nothing at all is no file and means today's defaults. Old files and run folders mean what they meant
//! when they were written.

use crate::methods::METHODS;
use toml::{Table, Value};

/// The version that this program writes.
pub const VERSION: i64 = 4;

/// A default that a version changed: files of earlier versions that do not set the key are read with the value that
/// it had.
struct Changed {
    /// The first version with the new default.
    since: i64,
    section: &'static str,
    key: &'static str,
    /// The method whose setting it is; none: of all.
    method: Option<&'static str>,
    /// The value before, as TOML.
    before: &'static str,
}

/// All changed defaults, newest last.
const CHANGED: &[Changed] = &[
    Changed {
        since: 3,
        section: "data",
        key: "exif",
        method: None,
        before: "false",
    },
    Changed {
        since: 3,
        section: "data",
        key: "pixels",
        method: None,
        before: "1",
    },
    Changed {
        since: 3,
        section: "method",
        key: "standardize",
        method: Some("barlow_twins"),
        before: "\"unbiased\"",
    },
    Changed {
        since: 4,
        section: "amcl",
        key: "parametrisation",
        method: Some("simclr"),
        before: "\"dot\"",
    },
];

/// Keys of `[method]` that version 2 renamed: method, old key, new key.
const RENAMED: &[(&str, &str, &str)] = &[("vicreg", "vicreg", "weights")];

/// Brings a setting under an older name, of any version, to the present one. `optim.exclude_bias_and_norm` is
/// `optim.decay` now.
pub(super) fn rename(section: &str, key: &mut String, value: &mut Value) {
    if let ("optim", "exclude_bias_and_norm", Value::Boolean(exclude)) =
        (section, key.as_str(), &*value)
    {
        let decays = if *exclude { "no_vectors" } else { "all" };
        (*key, *value) = ("decay".into(), decays.into());
    }
}

/// Renames what a file says under older names.
fn rename_all(table: &mut Table) -> Result<(), String> {
    for (section, settings) in table.iter_mut() {
        let Value::Table(settings) = settings else {
            continue;
        };
        let mut renamed = Table::new();
        for (old, value) in &*settings {
            let (mut key, mut value) = (old.clone(), value.clone());
            rename(section, &mut key, &mut value);
            if renamed.insert(key.clone(), value).is_some() {
                return Err(format!(
                    "{section}.{key} stands there under its older name too; give one of them"
                ));
            }
        }
        *settings = renamed;
    }
    Ok(())
}

/// Brings the table of a file to the present version.
///
/// - Settings under older names get their present names.
/// - Version 1 had one list of settings for all methods in `[method]`: those of other methods, which had no effect,
///   are dropped.
/// - Defaults that have changed since are set to what they were.
///
/// `method` is the method that is asked for in place of the file's.
///
/// # Errors
/// A version that this program does not know.
pub(super) fn migrate(table: &mut Table, method: Option<&str>) -> Result<(), String> {
    let version = match table.remove("version") {
        None if table.is_empty() => VERSION,
        None => 1,
        Some(Value::Integer(v)) if (1..=VERSION).contains(&v) => v,
        Some(v) => {
            return Err(format!(
                "version is {v}; this program reads versions 1 to {VERSION}, so the file is of a later one or damaged"
            ));
        }
    };
    rename_all(table)?;
    if version == 1 {
        one_list_of_method_settings(table);
    }
    let method = method.unwrap_or(&named(table)).to_string();
    old_defaults(table, &method, version, CHANGED)
}

/// The method that a file names.
fn named(table: &Table) -> String {
    let method = table.get("method").and_then(|m| m.get("name"));
    method.and_then(Value::as_str).unwrap_or("simclr").into()
}

/// Drops the settings of other methods than the one that is named.
fn one_list_of_method_settings(table: &mut Table) {
    let name = named(table);
    let Some(Value::Table(method)) = table.get_mut("method") else {
        return;
    };
    let own = METHODS
        .iter()
        .find(|m| m.name == name)
        .map_or_else(Vec::new, |m| (m.keys)());
    for (of, old, new) in RENAMED {
        if let Some(value) = method.remove(*old).filter(|_| *of == name) {
            method.insert((*new).into(), value);
        }
    }
    let others: Vec<String> = METHODS.iter().flat_map(|m| (m.keys)()).collect();
    let among = |keys: &[String], key: &str| keys.iter().any(|k| k == key);
    method.retain(|key, _| key == "name" || among(&own, key) || !among(&others, key));
}

/// Sets what is not given and had another default in `version`.
fn old_defaults(
    table: &mut Table,
    method: &str,
    version: i64,
    changed: &[Changed],
) -> Result<(), String> {
    let concerns = |c: &&Changed| version < c.since && c.method.is_none_or(|m| m == method);
    for c in changed.iter().filter(concerns) {
        let value: Table = format!("v = {}", c.before)
            .parse()
            .map_err(|e: toml::de::Error| e.to_string())?;
        let section = table
            .entry(c.section)
            .or_insert_with(|| Table::new().into());
        if let (Value::Table(section), Some(value)) = (section, value.get("v")) {
            section.entry(c.key).or_insert_with(|| value.clone());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Table {
        text.parse().unwrap()
    }

    #[test]
    fn an_old_list_of_settings_is_cut_to_the_method_s() {
        let mut t = parsed(
            "[method]\nname = \"moco\"\nqueue = 64\nlambda = 0.1\nvicreg = [1, 2, 3]\nqueeu = 3",
        );
        migrate(&mut t, None).unwrap();
        let keys: Vec<&str> = t["method"]
            .as_table()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        // What no method ever had stays, to be refused with the nearest key.
        assert_eq!(keys, ["name", "queeu", "queue"]);
        let mut t = parsed("[method]\nname = \"vicreg\"\nvicreg = [1, 2, 3]");
        migrate(&mut t, None).unwrap();
        assert!(t["method"].get("weights").is_some());
        // The control: a file of this version keeps all, and is checked strictly.
        let mut t = parsed("version = 2\n[method]\nname = \"simclr\"\nqueue = 64");
        migrate(&mut t, None).unwrap();
        assert!(t["method"].get("queue").is_some());
        let e = migrate(&mut parsed("version = 9"), None).unwrap_err();
        assert!(e.contains("versions 1 to 4"), "{e}");
    }

    #[test]
    fn files_before_version_3_keep_their_pixels() {
        let of = |text: &str| {
            let c = crate::config::Config::parse(text, &[]).unwrap();
            (c.data.exif, c.data.pixels)
        };
        for old in ["[run]\nepochs = 3", "version = 2"] {
            assert_eq!(of(old), (false, 1), "{old}");
        }
        assert_eq!(of("version = 2\ndata.exif = true"), (true, 1));
        assert_eq!(of("version = 3"), (true, 2));
        assert_eq!(of(""), (true, 2), "no file at all");
    }

    #[test]
    fn a_default_that_changed_keeps_its_old_value_in_old_files() {
        let changed = [Changed {
            since: 3,
            section: "optim",
            key: "clip",
            method: None,
            before: "10.0",
        }];
        let at = |text: &str, version| {
            let mut t = parsed(text);
            old_defaults(&mut t, "simclr", version, &changed).unwrap();
            t.get("optim")
                .and_then(|o| o.get("clip"))
                .and_then(Value::as_float)
        };
        assert_eq!(at("", 2), Some(10.0));
        assert_eq!(
            at("[optim]\nclip = 1.0", 2),
            Some(1.0),
            "what is given stays"
        );
        assert_eq!(at("", 3), None, "the new default is the type's own");
    }

    /// AMCL of an older file is the paper's form; of a file of today the centred one, where it was measured.
    #[test]
    fn amcl_of_files_before_version_4_keeps_its_form() {
        use crate::methods::loss::Parametrisation::{Centred, Dot};
        let of = |text: &str| {
            let c = crate::config::Config::parse(text, &[]).unwrap();
            (c.amcl.switches.parametrisation, c.amcl.switches.tau_min)
        };
        let amcl = "amcl.enabled = true";
        assert_eq!(of(&format!("version = 3\n{amcl}")), (Dot, 0.05));
        assert_eq!(of(amcl), (Dot, 0.05), "of version 1");
        let now = format!("version = 4\n{amcl}");
        assert_eq!(of(&now), (Centred, 0.02));
        for (other, floor) in [
            ("amcl.parametrisation = \"dot\"", 0.05),
            ("amcl.negatives = \"max\"", 0.05),
            ("amcl.adaptive = \"none\"", 0.05),
            ("method.name = \"moco\"", 0.05),
            ("model.encoder = \"vit_tiny\"", 0.1),
        ] {
            assert_eq!(of(&format!("{now}\n{other}")), (Dot, floor), "{other}");
        }
        assert_eq!(of(&format!("{now}\namcl.tau_min = 0.03")), (Centred, 0.03));
    }

    /// Barlow Twins of a file without the key is what it was, by whatever way the method is named; other methods get no
    /// such key, and a file of today has the new default.
    #[test]
    fn barlow_twins_of_old_files_keeps_its_deviation() {
        let of = |text: &str, method| {
            let mut t = parsed(text);
            migrate(&mut t, method).unwrap();
            let found = t.get("method").and_then(|m| m.get("standardize"));
            found.and_then(Value::as_str).map(String::from)
        };
        let barlow = "[method]\nname = \"barlow_twins\"";
        let unbiased = Some("unbiased".to_string());
        assert_eq!(of(barlow, None), unbiased);
        assert_eq!(of(&format!("version = 2\n{barlow}"), None), unbiased);
        assert_eq!(of("version = 2", Some("barlow_twins")), unbiased);
        let given = format!("version = 2\n{barlow}\nstandardize = \"batch_norm\"");
        assert_eq!(of(&given, None), Some("batch_norm".into()));
        assert_eq!(of(&format!("version = 3\n{barlow}"), None), None);
        assert_eq!(of("version = 2", None), None);
        assert_eq!(of(barlow, Some("moco")), None);
    }
}
