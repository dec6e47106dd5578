//! Durations and sizes as people write them: `"30s"`, `"64MiB"`. Pure text to number and back.

use std::time::Duration;

/// 1,024 bytes.
pub(super) const KIB: u64 = 1 << 10;
/// 1,048,576 bytes.
pub(super) const MIB: u64 = 1 << 20;
/// 1,073,741,824 bytes.
pub(super) const GIB: u64 = 1 << 30;

/// Nanoseconds in each unit of time.
const TIME_UNITS: &[(&str, u64)] =
    &[("ms", 1_000_000), ("s", 1_000_000_000), ("m", 60_000_000_000), ("h", 3_600_000_000_000)];

/// Bytes in each unit of size, in lower case.
const SIZE_UNITS: &[(&str, u64)] = &[
    ("b", 1),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("kib", KIB),
    ("mib", MIB),
    ("gib", GIB),
];

/// How to write a duration, for help lines.
pub(super) const TIME_FORM: &str =
    "write a number with `ms`, `s`, `m` or `h`, such as \"30s\", or a number of seconds";
/// How to write a size, for help lines.
pub(super) const SIZE_FORM: &str = "write a number with `B`, `KB`, `MB`, `GB`, `KiB`, `MiB` or \
    `GiB`, such as \"64MiB\", or a number of bytes";

/// Reads `"500ms"`, `"1.5 s"`, `"2m"`, `"1h"`. `None` where it has no such form or is too large.
pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    let nanos = scaled(text, |unit| unit_of(TIME_UNITS, unit))?;
    u64::try_from(nanos).ok().map(Duration::from_nanos)
}

/// Reads `"64MiB"`, `"1 MB"`, `"0.5GiB"`; units in any case. `None` where it has no such form or is
/// too large.
pub(super) fn parse_size(text: &str) -> Option<u64> {
    let bytes = scaled(text, |unit| unit_of(SIZE_UNITS, &unit.to_ascii_lowercase()))?;
    u64::try_from(bytes).ok()
}

/// Seconds with a fraction, as a TOML float has them. `None` where that is no duration.
pub(super) fn duration_of_seconds(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds).ok()
}

/// `64 MiB`, `1 MB`, `1000 bytes`: the largest unit that leaves a whole number.
pub(super) fn show_size(bytes: u64) -> String {
    let binary = [(GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")];
    let decimal = [(1_000_000_000, "GB"), (1_000_000, "MB")];
    let whole = |&&(unit, _): &&(u64, &str)| bytes >= unit && bytes.is_multiple_of(unit);
    match binary.iter().find(whole).or_else(|| decimal.iter().find(whole)) {
        Some((unit, name)) => format!("{} {name}", bytes / unit),
        None if bytes == 1 => "1 byte".to_owned(),
        None => format!("{bytes} bytes"),
    }
}

/// `30s`, `500ms`, `2m`, `1h`: the largest unit that leaves a whole number, as agents.toml has it.
pub(super) fn show_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis == 0 {
        return "0s".to_owned();
    }
    let units = [(3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    match units.iter().find(|(unit, _)| millis >= *unit && millis.is_multiple_of(*unit)) {
        // Seconds read better than one minute.
        Some((60_000, _)) if millis < 120_000 => format!("{}s", millis / 1_000),
        Some((unit, name)) => format!("{}{name}", millis / unit),
        None => format!("{millis}ms"),
    }
}

/// `1_000_000`: digits in groups of three from 10,000 on, as TOML allows.
pub(super) fn show_count(count: u64) -> String {
    let digits = count.to_string();
    if digits.len() < 5 {
        return digits;
    }
    let mut shown = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            shown.push('_');
        }
        shown.push(digit);
    }
    shown
}

fn unit_of(units: &[(&str, u64)], name: &str) -> Option<u64> {
    units.iter().find(|(known, _)| *known == name).map(|(_, factor)| *factor)
}

/// A decimal number times the factor of the unit behind it; a fraction below one is cut off.
fn scaled(text: &str, factor_of: impl Fn(&str) -> Option<u64>) -> Option<u128> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(split);
    let factor = u128::from(factor_of(unit.trim_start())?);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |part: &str| part.parse::<u64>().ok().map(u128::from);
    let scale = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    Some(digits(whole)? * factor + digits(fraction)? * factor / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_number_and_a_unit() {
        for (text, millis) in
            [("30s", 30_000), ("500ms", 500), ("2m", 120_000), (" 1.5 s ", 1_500), ("1h", 3_600_000)]
        {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for bad in
            ["", "s", "30", "-1s", "1d", "1S", "1.2.3s", ".5s", "1s2", "999999999999999h", "∞s", "1e3s"]
        {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn sizes_have_a_number_and_a_unit_in_any_case() {
        for (text, bytes) in
            [("64MiB", 64 * MIB), ("1 MB", 1_000_000), ("12b", 12), ("0.5gib", GIB / 2), ("4kB", 4_000)]
        {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for bad in ["64", "MiB", "64 M", "1,5 MB", "99999999999GiB", "-1B"] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_shown_can_be_read_again() {
        for bytes in [1_000_000, 64 * MIB, 3 * GIB, 65_537 * KIB] {
            assert_eq!(parse_size(&show_size(bytes)), Some(bytes));
        }
        assert_eq!(show_size(1_000), "1000 bytes");
        assert_eq!(show_count(9_999), "9999");
        assert_eq!(show_count(1_234_567), "1_234_567");
        for millis in [1, 500, 1_000, 60_000, 120_000, 3_600_000, 90_000] {
            let duration = Duration::from_millis(millis);
            assert_eq!(parse_duration(&show_duration(duration)), Some(duration));
        }
    }
}
