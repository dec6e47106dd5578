//! How amounts read: bytes, spans of time, percentages.
//!
//! Owns no state; pure.

/// Bytes in the largest binary unit that leaves at least one: `1.5 GiB`.
pub(crate) fn bytes(amount: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if amount < 1024 {
        return format!("{amount} B");
    }
    let mut scaled = amount as f64 / 1024.0;
    let mut unit = 0;
    // 1023.95 would be written as 1024.0.
    while scaled >= 1023.95 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    format!("{scaled:.1} {}", UNITS[unit])
}

/// Seconds in the two largest units that are not zero: `3 days 4 hours`.
pub(crate) fn span(seconds: u64) -> String {
    let parts = [
        (seconds / 86_400, "day"),
        (seconds / 3_600 % 24, "hour"),
        (seconds / 60 % 60, "minute"),
        (seconds % 60, "second"),
    ];
    let first = parts.iter().position(|(count, _)| *count > 0).unwrap_or(3);
    let words: Vec<String> = parts[first..]
        .iter()
        .take(2)
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count} {unit}{}", if *count == 1 { "" } else { "s" }))
        .collect();
    if words.is_empty() { "0 seconds".to_owned() } else { words.join(" ") }
}

/// What share of `total` the `part` is, in percent with one decimal; 0 where there is no total.
pub(crate) fn percent(part: u64, total: u64) -> f64 {
    if total == 0 { 0.0 } else { tenth(part as f64 * 100.0 / total as f64) }
}

/// Rounded to one decimal.
pub(crate) fn tenth(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_in_the_unit_that_fits() {
        let written = [0, 1023, 1024, 1536, 1_048_575, 1 << 30, 252 << 30, 1 << 40, u64::MAX].map(bytes);
        let wanted =
            ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1.0 MiB", "1.0 GiB", "252.0 GiB", "1.0 TiB", "16.0 EiB"];
        assert_eq!(written, wanted);
    }

    #[test]
    fn spans_are_written_in_two_units() {
        let written = [0, 59, 60, 3_661, 86_400, 93_784, 864_030].map(span);
        let wanted =
            ["0 seconds", "59 seconds", "1 minute", "1 hour 1 minute", "1 day", "1 day 2 hours", "10 days"];
        assert_eq!(written, wanted);
    }

    #[test]
    fn a_share_of_nothing_is_nothing() {
        assert_eq!(percent(1, 0), 0.0);
        assert_eq!(percent(1, 3), 33.3);
    }
}
