//! Keys as people give them: overrides, and what is said of keys and sections that there are not.

use super::{Config, ConfigError, MethodSettings, ModelSettings, Result, fault, synonyms};
use crate::methods;
use crate::nn::backbones;
use crate::settings::{self, Field, Section, nearest};
use toml::{Table, Value};

/// A value of another kind than its setting's, with the setting's name.
pub(super) fn kind_of_value(table: &Table, e: String) -> ConfigError {
    // Section by section, and within one setting by setting, until the message comes again.
    for (section, value) in table {
        for (key, value) in value.as_table().into_iter().flatten() {
            let one: Table = [(key.clone(), value.clone())].into_iter().collect();
            let alone: Table = [(section.clone(), one.into())].into_iter().collect();
            if let Err(e) = settings::typed::<Config>(&alone) {
                return fault(format!("{section}.{key} is {value}: {e}"));
            }
        }
    }
    fault(e)
}

/// Overrides as section, key and value. A value that is no TOML is a string.
pub(super) fn overridden(overrides: &[String]) -> Result<Vec<(String, String, Value)>> {
    let mut out = Vec::new();
    for o in overrides {
        let (key, value) = o
            .split_once('=')
            .ok_or_else(|| fault(format!("`{o}` is not key=value")))?;
        let (section, field) = key.trim().split_once('.').ok_or_else(|| {
            let hint = synonyms::meant(None, key).map_or(String::new(), |h| format!("; {h}"));
            fault(format!("`{}` is not section.key{hint}", key.trim()))
        })?;
        let value = format!("v = {value}")
            .parse::<Table>()
            .ok()
            .and_then(|mut t| t.remove("v"))
            .unwrap_or_else(|| Value::String(value.to_string()));
        out.push((section.to_string(), field.to_string(), value));
    }
    Ok(out)
}

pub(super) fn of_all_methods() -> Vec<String> {
    methods::METHODS.iter().flat_map(|m| (m.keys)()).collect()
}

pub(super) fn of_all_encoders() -> Vec<String> {
    backbones::FAMILIES
        .iter()
        .flat_map(|f| (f.keys)())
        .collect()
}

/// Which methods or encoders have this key, in words; none where there is no such method or encoder.
fn owners(section: &str, key: &str) -> Option<String> {
    let has = |keys: Vec<String>| keys.iter().any(|k| k == key);
    let all: Vec<&str> = match section {
        "method" => {
            let having = methods::METHODS.iter().filter(|m| has((m.keys)()));
            having.map(|m| m.name).collect()
        }
        "model" => {
            let having = backbones::FAMILIES.iter().filter(|f| has((f.keys)()));
            having.flat_map(|f| f.names).copied().collect()
        }
        _ => Vec::new(),
    };
    (!all.is_empty()).then(|| format!("it is a setting of {}", all.join(", ")))
}

/// Keys of the method or family `name` itself.
fn keys_of(section: &str, name: &str) -> Option<Vec<String>> {
    match section {
        "method" => methods::spec(name).ok().map(|s| (s.keys)()),
        _ => backbones::family(name).ok().map(|f| (f.keys)()),
    }
}

/// Where an override names another method (encoder) than the file, what the file says of its own has no meaning for
/// the other one and is left out.
pub(super) fn drop_settings_of_another(
    table: &mut Table,
    set: &[(String, String, Value)],
    section: &str,
    own: &str,
    of_all: &[String],
) {
    let named = set
        .iter()
        .rev()
        .find(|(s, key, _)| s == section && key == own);
    let keys = named.and_then(|n| keys_of(section, n.2.as_str()?));
    if let (Some(keys), Some(Value::Table(t))) = (keys, table.get_mut(section)) {
        let among = |keys: &[String], key: &str| keys.iter().any(|k| k == key);
        t.retain(|key, _| among(&keys, key) || !among(of_all, key));
    }
}

/// Leaves one of `optim.lr` and `optim.blr`: an override of one takes the place of the file's other one.
///
/// # Errors
/// The file, or the overrides, set both.
pub(super) fn one_rate(table: &mut Table, set: &[(String, String, Value)]) -> Result<()> {
    let zero = |v: &Value| v.as_integer() == Some(0) || v.as_float() == Some(0.0);
    let both = || {
        fault(
            "optim.lr and optim.blr both set the learning rate, and blr is lr of 256 images; give one of them",
        )
    };
    let of = |key: &str| {
        let mut all = set.iter().rev();
        let found = all.find(|(s, k, _)| s == "optim" && k == key);
        found.map(|(_, _, value)| value)
    };
    let (lr, blr) = (of("lr"), of("blr").filter(|v| !zero(v)));
    if lr.is_some() && blr.is_some() {
        return Err(both());
    }
    let Some(Value::Table(optim)) = table.get_mut("optim") else {
        return Ok(());
    };
    let scaled = optim.get("blr").is_some_and(|v| !zero(v));
    if scaled && optim.contains_key("lr") {
        return Err(both());
    }
    if lr.is_some() {
        optim.remove("blr");
    }
    if blr.is_some() {
        optim.remove("lr");
    }
    Ok(())
}

/// Where an override names a method without heads, what the file says of those of another method is left out.
pub(super) fn drop_heads_of_another(table: &mut Table, named: Option<&str>) {
    let of_file = table.get("method").and_then(|m| m.get("name"));
    let same = named == Some(of_file.and_then(Value::as_str).unwrap_or("simclr"));
    let spec = named.filter(|_| !same).and_then(|n| methods::spec(n).ok());
    if spec.is_some_and(|s| !s.has_heads) {
        table.remove("heads");
    }
}

/// Refuses sections and keys that there are not.
pub(super) fn refuse_unknown_keys(table: &Table) -> Result<()> {
    let all = settings::table(&Config::default()).map_err(fault)?;
    let sections: Vec<&str> = all
        .iter()
        .filter(|(_, v)| v.is_table())
        .map(|(s, _)| s.as_str())
        .collect();
    for (section, value) in table {
        if !sections.contains(&section.as_str()) {
            // A key that stands for itself in another section says more than the section's name.
            let keys = value.as_table().into_iter().flat_map(Table::keys);
            let meant = keys.map(|k| synonyms::meant(Some(section), k)).next();
            let near = synonyms::section(section)
                .or_else(|| nearest(section, sections.iter().copied()))
                .unwrap_or_default();
            let hint = meant
                .flatten()
                .unwrap_or_else(|| format!("did you mean [{near}]?"));
            return Err(fault(format!("no section [{section}]; {hint}")));
        }
        let Some(given) = value.as_table() else {
            return Err(fault(format!("`{section}` is not a section")));
        };
        let name = |key: &str, default: &str| {
            let name = given.get(key).and_then(Value::as_str);
            name.unwrap_or(default).to_string()
        };
        // A name that there is not is reported when the method or encoder is looked for.
        let with_own = |fields: Vec<Field>, keys: Vec<String>| {
            let own = fields.into_iter().map(|f| f.name.to_string());
            own.chain(keys).collect::<Vec<_>>()
        };
        let known = match section.as_str() {
            "method" => match keys_of("method", &name("name", "simclr")) {
                Some(keys) => with_own(MethodSettings::fields(), keys),
                None => continue,
            },
            "model" => match keys_of("model", &name("encoder", "tiny")) {
                Some(keys) => with_own(ModelSettings::fields(), keys),
                None => continue,
            },
            _ => all[section]
                .as_table()
                .into_iter()
                .flat_map(Table::keys)
                .cloned()
                .collect(),
        };
        for key in given.keys().filter(|k| !known.contains(k)) {
            let hint = owners(section, key).or_else(|| synonyms::meant(Some(section), key));
            if let Some(hint) = hint {
                return Err(fault(format!("no key {section}.{key}; {hint}")));
            }
        }
        settings::refuse_unknown(section, given.keys().map(String::as_str), &known)
            .map_err(fault)?;
    }
    Ok(())
}
