//! The functions and constants that an expression may name.
//!
//! Owns no state; pure.

use std::f64::consts;

use crate::Problem;

/// The value of a constant or of a number's name.
pub(crate) fn constant(name: &str) -> Option<f64> {
    Some(match name {
        "pi" => consts::PI,
        "e" => consts::E,
        "tau" => consts::TAU,
        "phi" => 1.618_033_988_749_895,
        "half" => 0.5,
        "third" => 1.0 / 3.0,
        "quarter" => 0.25,
        "dozen" => 12.0,
        "hundred" => 100.0,
        "thousand" => 1e3,
        "million" => 1e6,
        "billion" => 1e9,
        "trillion" => 1e12,
        _ => named_number(name)?,
    })
}

/// Whether a name may follow a number and multiply it: `2 pi`, `3 million`, but not `two three`.
pub(crate) fn multiplies(name: &str) -> bool {
    is_function(name) || (constant(name).is_some() && named_number(name).is_none())
}

fn named_number(name: &str) -> Option<f64> {
    const NAMES: [&str; 13] = [
        "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
        "twelve",
    ];
    NAMES.iter().position(|known| *known == name).map(|value| value as f64)
}

/// Whether a function has this name.
pub(crate) fn is_function(name: &str) -> bool {
    const NAMES: &[&str] = &[
        "sqrt",
        "cbrt",
        "sin",
        "cos",
        "tan",
        "asin",
        "acos",
        "atan",
        "sinh",
        "cosh",
        "tanh",
        "ln",
        "log",
        "log10",
        "log2",
        "exp",
        "abs",
        "floor",
        "ceil",
        "round",
        "factorial",
        "fact",
        "min",
        "minimum",
        "max",
        "maximum",
        "sum",
        "product",
        "mean",
        "average",
        "avg",
        "median",
        "gcd",
        "lcm",
        "pow",
        "hypot",
        "root",
    ];
    NAMES.contains(&name)
}

/// The value of a function.
pub(crate) fn apply(name: &str, values: &[f64]) -> Result<f64, Problem> {
    let count = values.len() as f64;
    let result = match (name, values) {
        (_, []) => return Err(format!("`{name}` needs a value.")),
        ("sqrt", [x]) => x.sqrt(),
        ("cbrt", [x]) => x.cbrt(),
        ("sin", [x]) => x.sin(),
        ("cos", [x]) => x.cos(),
        ("tan", [x]) => x.tan(),
        ("asin", [x]) => x.asin(),
        ("acos", [x]) => x.acos(),
        ("atan", [x]) => x.atan(),
        ("sinh", [x]) => x.sinh(),
        ("cosh", [x]) => x.cosh(),
        ("tanh", [x]) => x.tanh(),
        ("ln", [x]) => x.ln(),
        ("log" | "log10", [x]) => x.log10(),
        ("log2", [x]) => x.log2(),
        ("log", [x, base]) => x.log(*base),
        ("exp", [x]) => x.exp(),
        ("abs", [x]) => x.abs(),
        ("floor", [x]) => x.floor(),
        ("ceil", [x]) => x.ceil(),
        ("round", [x]) => x.round(),
        ("round", [x, digits]) if (0.0..=15.0).contains(digits) => {
            let scale = 10_f64.powf(digits.trunc());
            (x * scale).round() / scale
        }
        ("factorial" | "fact", [x]) => factorial(*x)?,
        ("pow", [x, y]) => x.powf(*y),
        ("root", [x, n]) => x.powf(1.0 / n),
        ("hypot", [x, y]) => x.hypot(*y),
        ("min" | "minimum", all) => all.iter().copied().fold(f64::INFINITY, f64::min),
        ("max" | "maximum", all) => all.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        ("sum", all) => all.iter().sum(),
        ("product", all) => all.iter().product(),
        ("mean" | "average" | "avg", all) => all.iter().sum::<f64>() / count,
        ("median", all) => median(all),
        ("gcd", all) => fold_whole(all, gcd)?,
        ("lcm", all) => fold_whole(all, |a, b| if a == 0 { 0 } else { (a / gcd(a, b)).saturating_mul(b) })?,
        _ => return Err(format!("`{name}` does not take {} values.", values.len())),
    };
    Ok(result)
}

/// The factorial of a whole number from 0 to 170, beyond which a 64-bit float ends.
pub(crate) fn factorial(x: f64) -> Result<f64, Problem> {
    if x.fract() != 0.0 || !(0.0..=170.0).contains(&x) {
        return Err("A factorial needs a whole number from 0 to 170.".to_owned());
    }
    Ok((1..=x as u32).map(f64::from).product())
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}

fn fold_whole(values: &[f64], step: impl Fn(u64, u64) -> u64) -> Result<f64, Problem> {
    let mut result: Option<u64> = None;
    for value in values {
        let size = value.abs();
        if size.fract() != 0.0 || size > 9e15 {
            return Err("Divisors and multiples are of whole numbers.".to_owned());
        }
        result = Some(result.map_or(size as u64, |so_far| step(so_far, size as u64)));
    }
    Ok(result.unwrap_or(0) as f64)
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_what_they_are_called() {
        let cases: [(&str, &[f64], f64); 8] = [
            ("gcd", &[12.0, 18.0], 6.0),
            ("lcm", &[4.0, 6.0], 12.0),
            ("median", &[3.0, 1.0, 2.0], 2.0),
            ("median", &[4.0, 1.0, 2.0, 3.0], 2.5),
            ("mean", &[1.0, 2.0], 1.5),
            ("round", &[2.345, 2.0], 2.35),
            ("log", &[8.0, 2.0], 3.0),
            ("factorial", &[0.0], 1.0),
        ];
        for (name, values, wanted) in cases {
            let value = apply(name, values);
            assert!(
                value.as_ref().is_ok_and(|value| (value - wanted).abs() < 1e-9),
                "{name} {values:?}: {value:?}"
            );
        }
        assert!(apply("factorial", &[171.0]).is_err());
        assert!(apply("sqrt", &[1.0, 2.0]).is_err());
    }
}
