//! Whole numbers in other bases: decimal, hexadecimal, binary, octal.
//!
//! Owns no state; pure.

use stockade_sdk::json;

use crate::{Answer, Problem};

struct Base {
    radix: u32,
    prefix: &'static str,
    name: &'static str,
    words: &'static [&'static str],
}

const BASES: [Base; 4] = [
    Base { radix: 16, prefix: "0x", name: "hexadecimal", words: &["hex", "hexadecimal", "base 16"] },
    Base { radix: 2, prefix: "0b", name: "binary", words: &["bin", "binary", "base 2"] },
    Base { radix: 8, prefix: "0o", name: "octal", words: &["oct", "octal", "base 8"] },
    Base { radix: 10, prefix: "", name: "decimal", words: &["dec", "decimal", "base 10"] },
];

/// Answers a question about bases; none where it names none.
pub(crate) fn answer(question: &str) -> Option<Result<Answer, Problem>> {
    let (number, target) = [" in ", " to ", " into ", " as "]
        .iter()
        .filter_map(|separator| question.rsplit_once(separator))
        .find_map(|(number, base)| Some((number.trim(), named(base)?)))
        .or_else(|| backwards(question))
        .or_else(|| Some((question, BASES.last()?)).filter(|_| has_prefix(question)))?;
    let number = ["number ", "from "].iter().fold(number, |number, word| number.trim_start_matches(word));
    Some(convert(number, target))
}

/// `binary of 10`, `hex for 255`.
fn backwards(question: &str) -> Option<(&str, &'static Base)> {
    let (base, number) = [" of ", " for "].iter().find_map(|separator| question.split_once(separator))?;
    let base = base.trim_end_matches(" representation").trim_end_matches(" value").trim_end_matches(" form");
    Some((number.trim(), named(base)?))
}

/// A number that shows its base by its prefix and stands alone.
fn has_prefix(question: &str) -> bool {
    let digits = |base: &Base| {
        let rest = question.strip_prefix(base.prefix).filter(|_| !base.prefix.is_empty())?;
        Some(!rest.is_empty() && rest.chars().all(|c| c.is_digit(base.radix)))
    };
    BASES.iter().any(|base| digits(base).unwrap_or(false))
}

fn named(words: &str) -> Option<&'static Base> {
    let words = words.trim().trim_start_matches("a ").trim_start_matches("its ");
    BASES.iter().find(|base| base.words.contains(&words))
}

fn convert(text: &str, target: &Base) -> Result<Answer, Problem> {
    let (value, source) = read(text)?;
    let written = write(value, target);
    Ok(Answer {
        text: format!("{} in {} is {written}", write(value, source), target.name),
        data: json!({
            "kind": "base",
            "value": written,
            "base": target.radix,
            "decimal": value.to_string(),
            "from_base": source.radix,
        }),
    })
}

fn write(value: i128, base: &Base) -> String {
    let digits = value.unsigned_abs();
    let digits = match base.radix {
        16 => format!("{digits:x}"),
        2 => format!("{digits:b}"),
        8 => format!("{digits:o}"),
        _ => digits.to_string(),
    };
    format!("{}{}{digits}", if value < 0 { "-" } else { "" }, base.prefix)
}

/// A number that says its base by a prefix or a word beside it; decimal where it says nothing.
fn read(text: &str) -> Result<(i128, &'static Base), Problem> {
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest.trim_start()),
        None => (false, text),
    };
    let mut found = None;
    for base in &BASES {
        let prefixed = rest.strip_prefix(base.prefix).filter(|_| !base.prefix.is_empty());
        let beside = base.words.iter().find_map(|word| {
            let before = rest.strip_prefix(word).and_then(|digits| digits.strip_prefix(' '));
            before.or_else(|| rest.strip_suffix(word).and_then(|digits| digits.strip_suffix(' ')))
        });
        if let Some(digits) = beside {
            let digits = digits.trim().trim_start_matches(base.prefix);
            found = Some((digits, base));
            break;
        }
        if let Some(digits) = prefixed {
            found = Some((digits, base));
        }
    }
    let (digits, base) = found.unwrap_or((rest, &BASES[3]));
    let digits = digits.replace(['_', ' '], "");
    let value = i128::from_str_radix(&digits, base.radix)
        .ok()
        .filter(|_| !digits.starts_with(['+', '-']))
        .ok_or_else(|| format!("`{text}` is not a whole {} number of at most 127 bits.", base.name))?;
    Ok((if negative { -value } else { value }, base))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_other_bases() {
        let cases = [
            ("255 in hex", "0xff"),
            ("0xff to decimal", "255"),
            ("1010 binary to decimal", "10"),
            ("binary 1010 to hex", "0xa"),
            ("0b1010 in octal", "0o12"),
            ("binary of 10", "0b1010"),
            ("hex ff to decimal", "255"),
            ("-16 in hexadecimal", "-0x10"),
            ("0xff", "255"),
            ("340282366920938463463374607431768211 in binary", "0b"),
        ];
        for (question, wanted) in cases {
            let value = answer(question).and_then(Result::ok).map(|answer| answer.data["value"].to_string());
            assert!(value.as_deref().is_some_and(|value| value.contains(wanted)), "{question}: {value:?}");
        }
        assert!(answer("5 miles in km").is_none());
        assert!(answer("12 + 3").is_none());
        assert!(answer("12 in binary").is_some());
        assert!(answer("leeks in binary").is_some_and(|answer| answer.is_err()));
    }
}
