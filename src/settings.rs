//! Sections of settings: fields with defaults and ranges, read from TOML. Unknown keys are refused with the nearest
//! known one, values of another kind and numbers outside their range with the range.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::{Display, Formatter};
use toml::{Table, Value};

/// The range of a number. Infinity and not-a-number are outside of every range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    low: f64,
    high: f64,
    /// The low end itself is outside.
    above: bool,
    /// The high end itself is outside.
    below: bool,
    /// What to do about a number outside; may be empty.
    advice: &'static str,
}

/// From `low` on.
pub const fn at_least(low: f64) -> Range {
    between(low, f64::INFINITY)
}

/// Larger than `low`.
pub const fn above(low: f64) -> Range {
    at_least(low).without_low()
}

/// From `low` to `high`, both included.
pub const fn between(low: f64, high: f64) -> Range {
    Range {
        low,
        high,
        above: false,
        below: false,
        advice: "",
    }
}

/// Seeds: what TOML's integers hold, but for the last thousand, so that the limit is a number of f64.
pub const SEED: Range = between(0.0, ((1u64 << 63) - 1024) as f64);

impl Range {
    /// The range up to `high`, which is included.
    pub const fn to(self, high: f64) -> Self {
        Self { high, ..self }
    }

    /// The range without its low end.
    pub const fn without_low(self) -> Self {
        Self {
            above: true,
            ..self
        }
    }

    /// The range without its high end.
    pub const fn without_high(self) -> Self {
        Self {
            below: true,
            ..self
        }
    }

    /// The range with what to do about a number outside, for the message.
    pub const fn advising(self, advice: &'static str) -> Self {
        Self { advice, ..self }
    }

    /// The ends: low and high (infinite: there is none), and whether each belongs to the range.
    pub const fn ends(self) -> [(f64, bool); 2] {
        [(self.low, !self.above), (self.high, !self.below)]
    }

    /// Is the number inside? Infinity and not-a-number never are.
    pub fn contains(self, x: f64) -> bool {
        let low = x > self.low || !self.above && x == self.low;
        let high = x < self.high || !self.below && x == self.high;
        x.is_finite() && low && high
    }
}

impl Display for Range {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let low = if self.above {
            "larger than"
        } else {
            "at least"
        };
        let high = if self.below { "below" } else { "at most" };
        match (self.above || self.below, self.high.is_finite()) {
            (_, false) => write!(f, "{low} {}", shown(self.low))?,
            (true, true) => write!(
                f,
                "{low} {} and {high} {}",
                shown(self.low),
                shown(self.high)
            )?,
            (false, true) => write!(f, "from {} to {}", shown(self.low), shown(self.high))?,
        }
        match self.advice {
            "" => Ok(()),
            advice => write!(f, ": {advice}"),
        }
    }
}

/// A number, a list of numbers, or one that may be left out.
pub trait Numbers {
    /// They are whole numbers.
    const WHOLE: bool;
    /// They are a list.
    const LIST: bool = false;
    /// How many there must be, where it is a list of so many.
    const COUNT: Option<usize> = None;
    /// Its numbers.
    fn numbers(&self) -> Vec<f64>;
}

impl Numbers for f32 {
    const WHOLE: bool = false;
    /// As it is written: 0.1 for the f32 that is next to it, so that a range's own ends are inside.
    fn numbers(&self) -> Vec<f64> {
        let written = self.to_string().parse();
        vec![written.unwrap_or(f64::from(*self))]
    }
}

impl Numbers for f64 {
    const WHOLE: bool = false;
    fn numbers(&self) -> Vec<f64> {
        vec![*self]
    }
}

macro_rules! whole_numbers {
    ($($ty:ty),*) => { $(
        impl Numbers for $ty {
            const WHOLE: bool = true;
            fn numbers(&self) -> Vec<f64> {
                vec![*self as f64]
            }
        }
    )* };
}
whole_numbers!(usize, u64, i64);

impl<T: Numbers, const N: usize> Numbers for [T; N] {
    const WHOLE: bool = T::WHOLE;
    const LIST: bool = true;
    const COUNT: Option<usize> = Some(N);
    fn numbers(&self) -> Vec<f64> {
        self.iter().flat_map(Numbers::numbers).collect()
    }
}

impl<T: Numbers> Numbers for [T] {
    const WHOLE: bool = T::WHOLE;
    fn numbers(&self) -> Vec<f64> {
        self.iter().flat_map(Numbers::numbers).collect()
    }
}

impl<T: Numbers> Numbers for Vec<T> {
    const WHOLE: bool = T::WHOLE;
    const LIST: bool = true;
    fn numbers(&self) -> Vec<f64> {
        self.as_slice().numbers()
    }
}

impl<T: Numbers> Numbers for Option<T> {
    const WHOLE: bool = T::WHOLE;
    fn numbers(&self) -> Vec<f64> {
        self.iter().flat_map(Numbers::numbers).collect()
    }
}

/// Checks that a setting's numbers are in their range; `key` is its name for people (`optim.lr`, `--lr`).
///
/// # Errors
/// Names the key, the number and the range.
pub fn check_range<T: Numbers + ?Sized>(key: &str, value: &T, range: Range) -> Result<(), String> {
    match value.numbers().into_iter().find(|x| !range.contains(*x)) {
        Some(x) => {
            let kind = if T::WHOLE { "a whole number " } else { "" };
            Err(format!("{key} is {}; it must be {kind}{range}", shown(x)))
        }
        None => Ok(()),
    }
}

/// A number as people write it.
fn shown(x: f64) -> String {
    match x.is_finite() && x.abs() >= 1e16 {
        true => format!("{x:e}"),
        false => x.to_string(),
    }
}

/// A setting: what a section knows of it beside its value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Field {
    /// Its key in the section.
    pub name: &'static str,
    /// What it is: the comment of its field, for the guide's page of settings.
    pub doc: &'static str,
    /// The range of its numbers; none: it is no number.
    pub range: Option<Range>,
    /// Its numbers are whole.
    pub whole: bool,
    /// It is a list of numbers.
    pub list: bool,
    /// It is a list of so many numbers; none: of any number.
    pub count: Option<usize>,
}

impl Field {
    /// A setting that is no number.
    pub const fn plain(name: &'static str, doc: &'static str) -> Self {
        Self {
            name,
            doc,
            range: None,
            whole: false,
            list: false,
            count: None,
        }
    }

    /// The setting as numbers of this type in a range.
    pub const fn ranged<T: Numbers>(self, range: Range) -> Self {
        Self {
            range: Some(range),
            whole: T::WHOLE,
            list: T::LIST,
            count: T::COUNT,
            ..self
        }
    }

    /// Checks a value as a file has it: its kind, and the range of its numbers.
    fn check(&self, section: &str, value: &Value) -> Result<(), String> {
        let Some(range) = self.range else {
            return Ok(());
        };
        let key = format!("{section}.{}", self.name);
        if !self.list {
            return self.check_number(&key, value, range);
        }
        match value.as_array() {
            Some(all) if self.count.is_none_or(|n| n == all.len()) => {
                let mut each = all.iter();
                each.try_for_each(|v| self.check_number(&key, v, range))
            }
            _ => {
                let count = self.count.map_or(String::new(), |n| format!("{n} "));
                Err(format!(
                    "{key} is {value}; it must be a list of {count}numbers, each {range}"
                ))
            }
        }
    }

    fn check_number(&self, key: &str, value: &Value, range: Range) -> Result<(), String> {
        let (number, fits) = match value {
            Value::Integer(i) => (*i as f64, true),
            Value::Float(x) => (*x, !self.whole),
            _ => (f64::NAN, false),
        };
        if fits && range.contains(number) {
            return Ok(());
        }
        let kind = match (self.whole, value.is_integer() || value.is_float()) {
            (true, _) => "a whole number ",
            (false, true) => "",
            (false, false) => "a number ",
        };
        let shown = match value {
            Value::Float(x) if !self.whole => shown(*x),
            other => other.to_string(),
        };
        Err(format!("{key} is {shown}; it must be {kind}{range}"))
    }
}

/// A section: a struct made by [`crate::section!`].
pub trait Section: Default + Serialize + DeserializeOwned {
    /// Its settings, in their order.
    fn fields() -> Vec<Field>;

    /// Checks every field against its range.
    ///
    /// # Errors
    /// Names the key, the number and the range.
    fn check_ranges(&self, section: &str) -> Result<(), String>;
}

/// Declares a section: fields with a default and, for numbers, the range behind `=>`. A last line `..name: Table` takes
/// the keys that are none of these: settings of what a field names.
#[macro_export]
macro_rules! section {
    ($(#[$doc:meta])* $name:ident {
        $($(#[doc = $fdoc:literal])* $field:ident: $ty:ty = $value:expr $(=> $range:expr)?,)*
    }) => {
        $crate::section! { @struct [serde(deny_unknown_fields, default)] $(#[$doc])* $name {
            $($(#[doc = $fdoc])* $field: $ty = $value $(=> $range)?,)*
        } }
    };
    ($(#[$doc:meta])* $name:ident {
        $($(#[doc = $fdoc:literal])* $field:ident: $ty:ty = $value:expr $(=> $range:expr)?,)*
        ..$rest:ident: Table = $others:expr,
    }) => {
        $crate::section! { @struct [serde(default)] $(#[$doc])* $name {
            $($(#[doc = $fdoc])* $field: $ty = $value $(=> $range)?,)*
            ..$rest: Table = $others,
        } }
    };
    (@struct [$serde:meta] $(#[$doc:meta])* $name:ident {
        $($(#[doc = $fdoc:literal])* $field:ident: $ty:ty = $value:expr $(=> $range:expr)?,)*
        $(..$rest:ident: Table = $others:expr,)?
    }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[$serde]
        pub struct $name {
            $($(#[doc = $fdoc])* pub $field: $ty,)*
            $(/** Settings of what a field names. */ #[serde(flatten)] pub $rest: toml::Table,)?
        }

        impl Default for $name {
            fn default() -> Self { Self { $($field: $value,)* $($rest: $others,)? } }
        }

        impl $crate::settings::Section for $name {
            fn fields() -> Vec<$crate::settings::Field> {
                vec![$(
                    $crate::settings::Field::plain(stringify!($field), concat!($($fdoc, "\n"),*))
                        $(.ranged::<$ty>($range))?,
                )*]
            }

            fn check_ranges(&self, section: &str) -> std::result::Result<(), String> {
                let _ = section;
                $($({
                    let key = format!(concat!("{}.", stringify!($field)), section);
                    $crate::settings::check_range(&key, &self.$field, $range)?;
                })?)*
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
    parse(&text)
}

/// Reads TOML.
///
/// # Errors
/// What is wrong, and in which line: one line of text.
pub fn parse(text: &str) -> Result<Table, String> {
    text.parse().map_err(|e| in_one_line(text, &e))
}

/// What is wrong with a TOML text, and in which line: one line of text.
pub fn in_one_line(text: &str, e: &toml::de::Error) -> String {
    let message = e.message().lines().collect::<Vec<_>>().join(" ");
    match e.span() {
        Some(at) if !text.is_empty() => {
            let before = text.get(..at.start).unwrap_or(text);
            let line = before.matches('\n').count() + 1;
            format!("line {line}: {message}")
        }
        _ => message,
    }
}

/// Checks what is given of a section against the kinds and ranges of its fields. Keys that there are not are left to
/// [`refuse_unknown`].
///
/// # Errors
/// Names the key, the value and the range.
pub fn check_given(section: &str, given: &Table, fields: &[Field]) -> Result<(), String> {
    for field in fields {
        if let Some(value) = given.get(field.name) {
            field.check(section, value)?;
        }
    }
    Ok(())
}

/// What is `given` of a section's keys, checked, with the defaults of all others.
///
/// # Errors
/// An unknown key, with the nearest known one; a wrong type; a number outside its range.
pub fn complete<S: Section>(section: &str, given: &Table) -> Result<Table, String> {
    let known = keys::<S>();
    refuse_unknown(section, given.keys().map(String::as_str), &known)?;
    check_given(section, given, &S::fields())?;
    let typed: S = typed(given).map_err(|e| format!("[{section}]: {e}"))?;
    // A number may be inside its range as it is written, and outside once it is rounded to its type.
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
        .map_err(|e: toml::de::Error| in_one_line("", &e))
}

/// Names of a section's keys.
pub fn keys<S: Section>() -> Vec<String> {
    S::fields().iter().map(|f| f.name.to_string()).collect()
}

/// Refuses keys that are none of `known`.
///
/// # Errors
/// Names the key and the nearest known one, or all where none is near.
pub fn refuse_unknown<'a>(
    section: &str,
    given: impl Iterator<Item = &'a str>,
    known: &[String],
) -> Result<(), String> {
    for key in given {
        if !known.iter().any(|k| k == key) {
            let hint = match near(key, known.iter().map(String::as_str)) {
                Some(near) => format!("did you mean {section}.{near}?"),
                None if known.is_empty() => format!("[{section}] has no settings here"),
                None => format!("[{section}] has {}", known.join(", ")),
            };
            return Err(format!("no key {section}.{key}; {hint}"));
        }
    }
    Ok(())
}

/// The candidate of least edit distance.
pub fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates.min_by_key(|c| distance(word, c))
}

/// The candidate of least edit distance, if at most half of the longer word would have to be changed.
pub fn near<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let longer = |c: &str| word.chars().count().max(c.chars().count());
    nearest(word, candidates).filter(|c| 2 * distance(word, c) <= longer(c))
}

/// `there are ...; did you mean NAME?`: for a name that there is not.
pub fn did_you_mean<'a>(word: &str, names: impl Iterator<Item = &'a str> + Clone) -> String {
    let all = names.clone().collect::<Vec<_>>().join(", ");
    match near(word, names) {
        Some(near) => format!("there are {all}; did you mean {near}?"),
        None => format!("there are {all}"),
    }
}

/// Levenshtein's distance: characters to put in, to take out or to replace.
fn distance(a: &str, b: &str) -> usize {
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
