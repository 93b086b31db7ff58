//! Sections of settings: fields with defaults and ranges, read from TOML. Unknown keys are refused with the nearest
//! known one, numbers outside their range with the range.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::{Display, Formatter};
use toml::Table;

/// The range of a number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    low: f64,
    high: f64,
    /// The low end itself is outside.
    above: bool,
}

/// From `low` on.
pub const fn at_least(low: f64) -> Range {
    between(low, f64::INFINITY)
}

/// Larger than `low`.
pub const fn above(low: f64) -> Range {
    Range {
        above: true,
        ..at_least(low)
    }
}

/// From `low` to `high`, both included.
pub const fn between(low: f64, high: f64) -> Range {
    Range {
        low,
        high,
        above: false,
    }
}

impl Range {
    /// Is the number inside? Infinity and not-a-number never are.
    pub fn contains(self, x: f64) -> bool {
        let low = if self.above {
            x > self.low
        } else {
            x >= self.low
        };
        x.is_finite() && low && x <= self.high
    }
}

impl Display for Range {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match (self.above, self.high.is_finite()) {
            (true, false) => write!(f, "larger than {}", self.low),
            (false, false) => write!(f, "at least {}", self.low),
            (true, true) => write!(f, "larger than {} and at most {}", self.low, self.high),
            (false, true) => write!(f, "from {} to {}", self.low, self.high),
        }
    }
}

/// A number or an array of numbers.
pub trait Numbers {
    /// Its numbers.
    fn numbers(&self) -> Vec<f64>;
}

macro_rules! numbers {
    ($($ty:ty),*) => { $(
        impl Numbers for $ty {
            fn numbers(&self) -> Vec<f64> {
                vec![*self as f64]
            }
        }
    )* };
}
numbers!(f32, f64, usize, u64, i64);

impl<T: Numbers, const N: usize> Numbers for [T; N] {
    fn numbers(&self) -> Vec<f64> {
        self.iter().flat_map(Numbers::numbers).collect()
    }
}

/// Checks that a field's numbers are in their range.
///
/// # Errors
/// Names the key, the number and the range.
pub fn check_range(
    section: &str,
    field: &str,
    value: &dyn Numbers,
    range: Range,
) -> Result<(), String> {
    match value.numbers().into_iter().find(|x| !range.contains(*x)) {
        Some(x) => Err(format!("{section}.{field} is {x}; it must be {range}")),
        None => Ok(()),
    }
}

/// A section: a struct made by [`crate::section!`].
pub trait Section: Default + Serialize + DeserializeOwned {
    /// Checks every field against its range.
    ///
    /// # Errors
    /// Names the key, the number and the range.
    fn check_ranges(&self, section: &str) -> Result<(), String>;
}

/// Declares a section: fields with a default and, for numbers, the range behind `=>`.
#[macro_export]
macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $field:ident: $ty:ty = $value:expr $(=> $range:expr)?,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name { $($(#[$fdoc])* pub $field: $ty,)* }

        impl Default for $name {
            fn default() -> Self { Self { $($field: $value,)* } }
        }

        impl $crate::settings::Section for $name {
            fn check_ranges(&self, section: &str) -> std::result::Result<(), String> {
                let _ = section;
                $($($crate::settings::check_range(section, stringify!($field), &self.$field, $range)?;)?)*
                Ok(())
            }
        }
    };
}

/// The section as a table. It is written and read again, so that an f32 keeps its short decimal form.
///
/// # Errors
/// Values that TOML cannot hold.
pub fn table(of: &impl Serialize) -> Result<Table, String> {
    let text = toml::to_string(of).map_err(|e| e.to_string())?;
    text.parse().map_err(|e: toml::de::Error| e.to_string())
}

/// What is `given` of a section's keys, checked, with the defaults of all others.
///
/// # Errors
/// An unknown key, with the nearest known one; a wrong type; a number outside its range.
pub fn complete<S: Section>(section: &str, given: &Table) -> Result<Table, String> {
    let known = keys::<S>();
    refuse_unknown(section, given.keys().map(String::as_str), &known)?;
    let typed: S = typed(given).map_err(|e| format!("[{section}]: {e}"))?;
    typed.check_ranges(section)?;
    table(&typed)
}

/// A section from its table.
///
/// # Errors
/// A wrong type, an unknown key.
pub fn typed<S: DeserializeOwned>(given: &Table) -> Result<S, String> {
    given
        .clone()
        .try_into()
        .map_err(|e: toml::de::Error| e.message().to_string())
}

/// Names of a section's keys.
pub fn keys<S: Section>() -> Vec<String> {
    table(&S::default())
        .map(|t| t.keys().cloned().collect())
        .unwrap_or_default()
}

/// Refuses keys that are none of `known`.
///
/// # Errors
/// Names the key and the nearest known one.
pub fn refuse_unknown<'a>(
    section: &str,
    given: impl Iterator<Item = &'a str>,
    known: &[String],
) -> Result<(), String> {
    for key in given {
        if !known.iter().any(|k| k == key) {
            let near = nearest(key, known.iter().map(String::as_str));
            let hint = match near {
                Some(near) => format!("did you mean {section}.{near}?"),
                None => format!("[{section}] has no settings here"),
            };
            return Err(format!("no key {section}.{key}; {hint}"));
        }
    }
    Ok(())
}

/// The candidate of least edit distance.
pub fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |a: &str, b: &str| {
        let b: Vec<char> = b.chars().collect();
        let mut row: Vec<usize> = (0..=b.len()).collect();
        for (i, x) in a.chars().enumerate() {
            let mut diagonal = row[0];
            row[0] = i + 1;
            for (j, y) in b.iter().enumerate() {
                let up = row[j + 1];
                row[j + 1] = (diagonal + usize::from(x != *y))
                    .min(up + 1)
                    .min(row[j] + 1);
                diagonal = up;
            }
        }
        row[b.len()]
    };
    candidates.min_by_key(|c| distance(word, c))
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::section! {
        /// For these tests.
        Sample {
            /// A share.
            share: f32 = 0.99 => between(0.0, 1.0),
            /// Two rates.
            rates: [f64; 2] = [0.1, 0.2] => above(0.0),
            /// A name.
            name: String = "x".into(),
        }
    }

    #[test]
    fn a_section_is_completed_and_its_mistakes_are_named() {
        let given = |text: &str| complete::<Sample>("sample", &text.parse::<Table>().unwrap());
        let whole = given("rates = [1, 2]").unwrap();
        assert_eq!(
            whole.to_string(),
            "name = \"x\"\nrates = [1.0, 2.0]\nshare = 0.99\n"
        );
        for (text, want) in [
            (
                "shore = 1",
                "no key sample.shore; did you mean sample.share?",
            ),
            ("share = 1.5", "sample.share is 1.5; it must be from 0 to 1"),
            ("share = nan", "sample.share is NaN; it must be from 0 to 1"),
            (
                "rates = [0.5, 0]",
                "sample.rates is 0; it must be larger than 0",
            ),
            ("name = 3", "expected a string"),
        ] {
            let e = given(text).unwrap_err();
            assert!(e.contains(want), "{text}: {e}");
        }
    }
}
