//! The shader preprocessor: imports, conditionals, constants.
//!
//! - `#import name` puts `shaders/lib/name.wgsl` there, once a shader.
//! - `#ifdef X`, `#ifndef X`, `#else`, `#endif` keep or drop lines; they nest.
//! - The flags `HALF` and `COOP` enable the language's extensions for f16 and for cooperative matrices.
//! - A define with a value also becomes a module constant: `("TILE", "64u")` adds `const TILE = 64u;` at the top.
//!
//! Dropped lines stay as empty lines, so that a line number in a compiler's message is that of the file plus the
//! constants' lines (imports excepted).

macro_rules! library {
    ($name:literal) => {
        (
            $name,
            include_str!(concat!("../../shaders/lib/", $name, ".wgsl")),
        )
    };
}

/// What kernels may import.
const LIBRARY: &[(&str, &str)] = &[
    library!("amcl_params"),
    library!("angle"),
    library!("candidates"),
    library!("channels"),
    library!("channel_tile"),
    library!("clamp"),
    library!("element"),
    library!("grid"),
    library!("head_lanes"),
    library!("head_tile"),
    library!("heads"),
    library!("lanes"),
    library!("nan"),
    library!("normal"),
    library!("order"),
    library!("outer"),
    library!("pair_params"),
    library!("pair_tile"),
    library!("philox"),
    library!("place"),
    library!("row"),
    library!("select"),
    library!("step"),
    library!("storage"),
    library!("sums8x16"),
    library!("temperature"),
    library!("tile"),
    library!("tile_coop"),
    library!("weights"),
    library!("wide_row"),
];

/// Flags that enable an extension of the language.
const EXTENSIONS: &[(&str, &str)] = &[("HALF", "f16"), ("COOP", "wgpu_cooperative_matrix")];

/// Expands `source` with `defines` (an empty value is a flag).
///
/// # Errors
/// Unknown import, unbalanced conditional, unknown directive: with the line number.
pub fn preprocess(source: &str, defines: &[(&'static str, String)]) -> Result<String, String> {
    let mut out = String::with_capacity(source.len() + 1024);
    // `enable` directives must stand before everything else.
    for (flag, extension) in EXTENSIONS {
        if defines.iter().any(|d| d.0 == *flag) {
            out.push_str(&format!("enable {extension};\n"));
        }
    }
    for (name, value) in defines.iter().filter(|d| !d.1.is_empty()) {
        out.push_str(&format!("const {name} = {value};\n"));
    }
    let mut imported = Vec::new();
    expand(source, defines, &mut imported, &mut out)?;
    Ok(out)
}

fn expand(
    source: &str,
    defines: &[(&'static str, String)],
    imported: &mut Vec<String>,
    out: &mut String,
) -> Result<(), String> {
    // One entry a nesting level: is this branch kept, has its `#else` passed.
    let mut stack: Vec<(bool, bool)> = Vec::new();
    for (number, line) in source.lines().enumerate() {
        let number = number + 1;
        let keep = stack.iter().all(|s| s.0);
        let trimmed = line.trim_start();
        let Some(directive) = trimmed.strip_prefix('#') else {
            if keep {
                out.push_str(line);
            }
            out.push('\n');
            continue;
        };
        let mut words = directive.split_whitespace();
        let defined = |name: Option<&str>| match name {
            Some(n) => Ok(defines.iter().any(|d| d.0 == n)),
            None => Err(format!("line {number}: `{trimmed}` needs a name")),
        };
        match words.next() {
            Some("ifdef") => stack.push((defined(words.next())?, false)),
            Some("ifndef") => stack.push((!defined(words.next())?, false)),
            Some("else") => match stack.last_mut() {
                Some(top) if !top.1 => *top = (!top.0, true),
                _ => return Err(format!("line {number}: #else without #ifdef")),
            },
            Some("endif") => {
                stack
                    .pop()
                    .ok_or_else(|| format!("line {number}: #endif without #ifdef"))?;
            }
            Some("import") if keep => {
                let name = words
                    .next()
                    .ok_or_else(|| format!("line {number}: #import needs a name"))?;
                if !imported.iter().any(|i| i == name) {
                    imported.push(name.to_string());
                    let lib = LIBRARY
                        .iter()
                        .find(|l| l.0 == name)
                        .ok_or_else(|| format!("line {number}: no shaders/lib/{name}.wgsl"))?;
                    expand(lib.1, defines, imported, out).map_err(|e| format!("{name}: {e}"))?;
                }
            }
            Some("import") => {}
            other => {
                return Err(format!(
                    "line {number}: unknown directive #{}",
                    other.unwrap_or("")
                ));
            }
        }
        out.push('\n');
    }
    if stack.is_empty() {
        Ok(())
    } else {
        Err("#ifdef without #endif".to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::preprocess;

    fn defs(d: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
        d.iter().map(|(a, b)| (*a, b.to_string())).collect()
    }

    #[test]
    fn conditionals_nest_and_constants_lead() {
        let src =
            "#ifdef A\na\n#ifdef B\nb\n#else\nc\n#endif\n#else\nd\n#endif\n#ifndef A\ne\n#endif";
        let words = |d: &[(&'static str, &str)]| {
            preprocess(src, &defs(d))
                .unwrap()
                .split_whitespace()
                .map(String::from)
                .collect::<Vec<_>>()
        };
        assert_eq!(words(&[]), ["d", "e"]);
        assert_eq!(words(&[("A", "")]), ["a", "c"]);
        assert_eq!(words(&[("A", ""), ("B", "")]), ["a", "b"]);
        assert_eq!(words(&[("B", "4u")]), ["const", "B", "=", "4u;", "d", "e"]);
    }

    #[test]
    fn imports_once() {
        let out = preprocess("#import grid\n#import grid\n", &[]).unwrap();
        assert_eq!(out.matches("fn group_index").count(), 1);
    }

    #[test]
    fn faults_are_named_with_their_line() {
        for (src, text) in [
            ("x\n#import nothing", "line 2: no shaders/lib/nothing.wgsl"),
            ("#else", "line 1: #else without"),
            ("#endif", "line 1: #endif without"),
            ("#ifdef A", "#ifdef without #endif"),
            ("#frobnicate", "unknown directive #frobnicate"),
            ("#ifdef", "needs a name"),
        ] {
            let e = preprocess(src, &[]).unwrap_err();
            assert!(e.contains(text), "{src:?}: {e}");
        }
    }
}
