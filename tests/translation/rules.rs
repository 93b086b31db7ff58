//! Rules of a shader's text that naga does not enforce but another compiler needs. A rule gives what it found, one
//! line a fault.

/// The rules of WGSL text.
pub const WGSL: &[fn(&str) -> Vec<String>] =
    &[valueless_in_loop, unbracketed, compared_with_itself];

/// Names, numbers, operators and brackets of WGSL or HLSL. A type with its parameters is one token (`vec4<f32>`), so
/// that `<` is always a comparison.
fn tokens(text: &str) -> Vec<String> {
    const OPERATORS: &[&str] = &[
        "==", "!=", "<=", ">=", "&&", "||", "->", "<<", ">>", "+=", "-=", "*=", "/=", "%=", "++",
        "--", "&=", "|=", "^=",
    ];
    let text: String = text
        .lines()
        .map(|l| l.split("//").next().unwrap_or(""))
        .collect::<Vec<_>>()
        .join("\n");
    let mut rest = text.as_str();
    let mut out: Vec<String> = Vec::new();
    while let Some(first) = rest.chars().next() {
        let of_name = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
        let length = match first {
            c if c.is_whitespace() => {
                rest = &rest[c.len_utf8()..];
                continue;
            }
            c if of_name(c) => {
                let name = rest.find(|c| !of_name(c)).unwrap_or(rest.len());
                match rest[name..].starts_with('<') && takes_types(&rest[..name]) {
                    true => name + parameters(&rest[name..]),
                    false => name,
                }
            }
            c => match OPERATORS.iter().any(|o| rest.starts_with(o)) {
                true => 2,
                false => c.len_utf8(),
            },
        };
        out.push(rest[..length].to_string());
        rest = &rest[length..];
    }
    out
}

/// Whether a `<` behind this name opens a list of types.
fn takes_types(name: &str) -> bool {
    const GENERIC: &[&str] = &["vec", "mat", "coop_mat"];
    matches!(
        name,
        "array" | "atomic" | "ptr" | "var" | "bitcast" | "vector" | "matrix"
    ) || GENERIC.iter().any(|g| {
        name.strip_prefix(g)
            .is_some_and(|n| n.starts_with(|c: char| c.is_ascii_digit()))
    })
}

/// Length of `<..>` at the start of the text.
fn parameters(text: &str) -> usize {
    let mut depth = 0;
    for (i, c) in text.char_indices() {
        match c {
            '<' => depth += 1,
            '>' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return i + 1;
        }
    }
    text.len()
}

/// `var x: T;` in a loop's body. WGSL sets it to zero in every turn of the loop. Tint (Chromium 156) sets it to zero
/// once, at the function's start; with a value in the text the store stands in the loop.
pub fn valueless_in_loop(text: &str) -> Vec<String> {
    let tokens = tokens(text);
    let (mut blocks, mut brackets, mut heading) = (Vec::new(), 0, false);
    let mut faults = Vec::new();
    for (i, token) in tokens.iter().enumerate() {
        match token.as_str() {
            "for" | "while" | "loop" => heading = true,
            "(" | "[" => brackets += 1,
            ")" | "]" => brackets -= 1,
            "{" if brackets == 0 => {
                let within = blocks.last().copied().unwrap_or(false);
                blocks.push(within || heading);
                heading = false;
            }
            "}" if brackets == 0 => {
                blocks.pop();
            }
            t if (t == "var" || t.starts_with("var<")) && blocks.last() == Some(&true) => {
                let declaration: Vec<&str> = tokens[i..]
                    .iter()
                    .map(String::as_str)
                    .take_while(|t| *t != ";")
                    .collect();
                if !declaration.contains(&"=") {
                    faults.push(format!("no value in a loop: {}", declaration.join(" ")));
                }
            }
            _ => {}
        }
    }
    faults
}

/// Operators of two operands between which WGSL knows no precedence, by kind.
#[derive(Clone, Copy, PartialEq)]
enum Binary {
    /// `||` and `&&`: not beside each other.
    Logical,
    /// `==`, `<` and their like.
    Relation,
    /// `|`, `&` and `^`: beside none but themselves.
    Bits,
    /// `<<` and `>>`: not beside arithmetic.
    Shift,
    /// `+`, `*` and their like.
    Arithmetic,
}

fn binary(token: &str) -> Option<Binary> {
    match token {
        "||" | "&&" => Some(Binary::Logical),
        "==" | "!=" | "<" | ">" | "<=" | ">=" => Some(Binary::Relation),
        "|" | "&" | "^" => Some(Binary::Bits),
        "<<" | ">>" => Some(Binary::Shift),
        "+" | "-" | "*" | "/" | "%" => Some(Binary::Arithmetic),
        _ => None,
    }
}

/// Whether two operators of one expression, the second behind the first, need brackets. `apart`: a relation or a logical
/// operator stands between them.
fn clash(first: &str, second: &str, apart: bool) -> bool {
    use Binary::{Arithmetic, Bits, Logical, Shift};
    match (binary(first), binary(second)) {
        (Some(Logical), Some(Logical)) => first != second,
        (Some(Bits), Some(_)) | (Some(_), Some(Bits)) => first != second,
        (Some(Shift), Some(Shift | Arithmetic)) | (Some(Arithmetic), Some(Shift)) => !apart,
        _ => false,
    }
}

/// `a || b && c`, `a * b | c`, `a << b + c`: WGSL asks for brackets, naga does not.
pub fn unbracketed(text: &str) -> Vec<String> {
    // An entry a bracket that is open: what stands in its expression so far.
    let mut open: Vec<Vec<String>> = vec![Vec::new()];
    let mut faults = Vec::new();
    for token in tokens(text) {
        match token.as_str() {
            "(" | "[" => open.push(Vec::new()),
            ")" | "]" if open.len() > 1 => {
                open.pop();
            }
            // Another expression begins, also behind `+=` and its like.
            t if matches!(t, "," | ";" | "{" | "}" | "return" | ":")
                || (t.ends_with('=') && binary(t).is_none()) =>
            {
                open.last_mut().unwrap().clear();
                continue;
            }
            _ => {}
        }
        let words = open.last_mut().unwrap();
        // An operator at the beginning or behind another has one operand.
        let operand = words
            .last()
            .is_some_and(|w| binary(w).is_none() && !matches!(w.as_str(), "(" | "[" | "!" | "~"));
        if operand && binary(&token).is_some() {
            let splits = |w: &String| matches!(binary(w), Some(Binary::Logical | Binary::Relation));
            let beside = words
                .iter()
                .enumerate()
                .any(|(i, w)| clash(w, &token, words[i..].iter().any(splits)));
            if beside {
                faults.push(format!("without brackets: {} {token}", words.join(" ")));
            }
        }
        words.push(token);
    }
    faults
}

/// `x != x` and its like. As a test for NaN it may be optimised away: WGSL lets a compiler assume that there is none.
pub fn compared_with_itself(text: &str) -> Vec<String> {
    let tokens = tokens(text);
    let ends = |t: &str| {
        matches!(
            t,
            "," | ";" | "{" | "}" | "=" | "&&" | "||" | "!" | "==" | "!=" | "<" | ">" | "<=" | ">="
        ) || matches!(t, "return" | "if" | "while" | "case")
    };
    // The operand's tokens, walking away from the operator. In that direction `open` leads into a group, `shut` out
    // of it.
    let operand = |walk: &mut dyn Iterator<Item = &String>, open: [&str; 2], shut: [&str; 2]| {
        let mut depth = 0;
        let mut out = Vec::new();
        for token in walk {
            let t = token.as_str();
            if depth == 0 && (shut.contains(&t) || ends(t)) {
                break;
            }
            depth += i32::from(open.contains(&t)) - i32::from(shut.contains(&t));
            out.push(t.to_string());
        }
        out
    };
    let mut faults = Vec::new();
    for (i, t) in tokens.iter().enumerate() {
        if !matches!(t.as_str(), "==" | "!=" | "<" | ">" | "<=" | ">=") {
            continue;
        }
        let (left, right) = (["(", "["], [")", "]"]);
        let mut before = operand(&mut tokens[..i].iter().rev(), right, left);
        before.reverse();
        let after = operand(&mut tokens[i + 1..].iter(), left, right);
        if before == after {
            let side = before.join(" ");
            faults.push(format!("compared with itself: {side} {t} {side}"));
        }
    }
    faults
}

/// Functions that HLSL text defines twice with the same types of parameters. naga writes a helper for each type that it
/// makes a zero of, and gives the helpers of two aliases of one type the same name.
pub fn defined_twice(hlsl: &str) -> Vec<String> {
    let tokens = tokens(hlsl);
    let mut depth = 0;
    let (mut seen, mut faults) = (std::collections::BTreeSet::new(), Vec::new());
    for (i, token) in tokens.iter().enumerate() {
        match token.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            "(" if depth == 0 && i > 0 && tokens[i - 1] != "register" => {
                let Some(length) = tokens[i..].iter().position(|t| t == ")") else {
                    continue;
                };
                let defines = tokens[i + length..]
                    .iter()
                    .find(|t| matches!(t.as_str(), "{" | ";" | "("))
                    .is_some_and(|t| t == "{");
                let inside = &tokens[i + 1..i + length];
                let types: Vec<String> = inside.split(|t| t == ",").map(type_of).collect();
                let signature = format!("{}({})", tokens[i - 1], types.join(", "));
                if defines && !seen.insert(signature.clone()) {
                    faults.push(format!("defined twice: {signature}"));
                }
            }
            _ => {}
        }
    }
    faults
}

/// A parameter of HLSL without its name and meaning: `inout float x[4] : SV_Y` is `inout float [ 4 ]`.
fn type_of(parameter: &[String]) -> String {
    let words: Vec<&str> = parameter
        .iter()
        .map(String::as_str)
        .take_while(|t| *t != ":")
        .collect();
    let length = words.iter().position(|t| *t == "[").unwrap_or(words.len());
    let mut kept = words[..length.saturating_sub(1)].to_vec();
    kept.extend(&words[length..]);
    kept.join(" ")
}

#[test]
fn a_variable_in_a_loop_has_a_value() {
    let faults = |body: &str| valueless_in_loop(&format!("fn f() {{ {body} }}")).len();
    assert_eq!(
        faults("var x: u32; for (var i = 0u; i < 4u; i++) { x = i; }"),
        0
    );
    assert_eq!(
        faults("for (var i = 0u; i < 4u; i++) { g(i); } var x: u32;"),
        0
    );
    assert_eq!(
        faults("loop { var x: array<f32, 4> = array<f32, 4>(); }"),
        0
    );
    assert_eq!(faults("loop { var x: u32 = 0u; // var y: u32;\n }"), 0);
    assert_eq!(faults("for (var i = 0u; i < 4u; i++) { var x: u32; }"), 1);
    assert_eq!(faults("loop { var x: array<vec4<u32>, 4>; x[0] = a; }"), 1);
    assert_eq!(faults("while a { if b { { var<function> x: f32; } } }"), 1);
    assert_eq!(
        faults("loop { for (var i = 0u; i < 4u; i++) { } var x: u32; var y: f32; }"),
        2
    );
}

#[test]
fn operators_without_an_order_have_brackets() {
    let faults = |text: &str| unbracketed(&format!("let v = {text};")).len();
    for text in [
        "a || b || c",
        "a || (b && c)",
        "(a || b) && c",
        "f(a || b, c && d)",
        "a || x[u32(b && c)]",
        "a | b | c",
        "(a * b) | c",
        "(a & b) == c && d",
        "f(a * b, c | d)",
        "a << b == c + d",
        "a + -b * c < d || *e > f(&g, -h)",
        "a * b + c",
        "x[a | b] * c",
    ] {
        assert_eq!(faults(text), 0, "{text}");
    }
    for text in [
        "a || b && c",
        "a && b || c",
        "k > t.k || k == t.k && j <= t.l",
        "(a && b || c)",
        "a || (b || c) && d",
        "f(a, b && c || d)",
        "a * b | c",
        "f(x, a * 16u | B)",
        "a | b & c",
        "a & b == c",
        "a << b + c",
        "a - b >> c",
        "a << b >> c",
    ] {
        assert_eq!(faults(text), 1, "{text}");
    }
    let more = "0; if a || b { c = d && e; } if a && b { return c || d; } c |= a * b; c = a * b; d = c | a";
    assert_eq!(faults(more), 0);
}

#[test]
fn nothing_is_compared_with_itself() {
    let faults = |text: &str| compared_with_itself(&format!("if {text} {{ return; }}")).len();
    for text in [
        "a == b",
        "a.x < a.y",
        "a[i] > a[j]",
        "a + x != x",
        "f(x) == g(x)",
        "x == x + y",
        "vec4<f32>(a) == vec4<f32>(b)",
    ] {
        assert_eq!(faults(text), 0, "{text}");
    }
    for text in [
        "x != x",
        "!(x == x)",
        "b && x[i + 1u] != x[i + 1u]",
        "f(a, b) == f(a, b)",
        "vec2<f32>(a) <= vec2<f32>(a)",
        "g(1u, x.y > x.y)",
    ] {
        assert_eq!(faults(text), 1, "{text}");
    }
}

#[test]
fn functions_are_told_apart_by_their_parameters() {
    let one = "cbuffer p : register(b0, space1) { P p; }\nfloat f(float a, inout int b[4]) { return a; }\n\
               [numthreads(64, 1, 1)]\nvoid main(uint3 id : SV_GroupID)\n{ f(1.0, x); }\n";
    let other = "cbuffer q : register(b1, space1) { Q q; }\nfloat f(float2 a, inout int b[4]) { return a.x; }\n";
    let declared = "float f(float other, inout int name[4]);\n";
    assert!(defined_twice(&[one, other, declared].concat()).is_empty());
    let twice = "int f(float other, inout int name[4]) { return 0; }\n";
    let found = defined_twice(&[one, other, twice].concat());
    assert_eq!(found, ["defined twice: f(float, inout int [ 4 ])"]);
}
