//! Numbers of flags that stand for no setting: they have a range too.

use amcl_wgpu::settings::{Numbers, Range};
use std::str::FromStr;

/// Reads a number in a range, for clap, which names the flag and the number.
pub fn within<T>(range: Range) -> impl Fn(&str) -> Result<T, String> + Clone
where
    T: FromStr + Numbers,
{
    move |text| {
        let kind = if T::WHOLE { "a whole number " } else { "" };
        let number = text.parse::<T>().ok();
        let inside = number.filter(|n| n.numbers().iter().all(|x| range.contains(*x)));
        inside.ok_or_else(|| format!("it must be {kind}{range}"))
    }
}
