//! Encodings that turn back into what they were made of: base64, URL, hexadecimal, HTML, ROT13.
//!
//! Owns no state; pure. What decodes to bytes that are not text is a problem, not a guess.

use base64::{
    Engine,
    alphabet::{STANDARD, URL_SAFE},
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use crate::{Answer, Problem};

/// Padding may be there or not.
const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);

pub(crate) fn base64_encode(text: &str) -> Result<Answer, Problem> {
    Ok(Answer::result(base64::engine::general_purpose::STANDARD.encode(text)))
}

/// Both alphabets are read, the standard one and the one for URLs.
pub(crate) fn base64_decode(text: &str) -> Result<Answer, Problem> {
    let packed: String = text.split_whitespace().collect();
    let alphabet = if packed.contains(['-', '_']) { &URL_SAFE } else { &STANDARD };
    let bytes = GeneralPurpose::new(alphabet, LENIENT)
        .decode(packed)
        .map_err(|error| format!("This is not base64: {error}."))?;
    decoded(bytes)
}

/// Everything but the characters that RFC 3986 calls unreserved is escaped.
pub(crate) fn url_encode(text: &str) -> Result<Answer, Problem> {
    let mut result = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            result.push(char::from(byte));
        } else {
            result += &format!("%{byte:02X}");
        }
    }
    Ok(Answer::result(result))
}

/// `+` is read as a space, as forms send it.
pub(crate) fn url_decode(text: &str) -> Result<Answer, Problem> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        match first {
            b'%' => {
                let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
                let byte = digits
                    .filter(|digits| !digits.starts_with('+'))
                    .and_then(|digits| u8::from_str_radix(digits, 16).ok());
                bytes.push(byte.ok_or("A `%` is not followed by two hexadecimal digits.")?);
                rest = &after[2..];
            }
            b'+' => bytes.push(b' '),
            other => bytes.push(*other),
        }
    }
    decoded(bytes)
}

pub(crate) fn hex_encode(text: &str) -> Result<Answer, Problem> {
    Ok(Answer::result(text.bytes().map(|byte| format!("{byte:02x}")).collect()))
}

pub(crate) fn hex_decode(text: &str) -> Result<Answer, Problem> {
    let packed: String = text.chars().filter(|c| !c.is_whitespace() && *c != ':').collect();
    let digits: Option<Vec<u8>> = packed
        .trim_start_matches("0x")
        .chars()
        .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect();
    let digits = digits
        .filter(|digits| digits.len() % 2 == 0)
        .ok_or("This is not an even number of hexadecimal digits.")?;
    decoded(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

pub(crate) fn html_escape(text: &str) -> Result<Answer, Problem> {
    let mut result = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => result += "&amp;",
            '<' => result += "&lt;",
            '>' => result += "&gt;",
            '"' => result += "&quot;",
            '\'' => result += "&#39;",
            other => result.push(other),
        }
    }
    Ok(Answer::result(result))
}

/// The five named references that HTML escapes are made of, the non-breaking space, and numeric ones.
pub(crate) fn html_unescape(text: &str) -> Result<Answer, Problem> {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        result += &rest[..at];
        rest = &rest[at..];
        let end = rest.find(';').filter(|end| *end <= 10);
        match end.and_then(|end| Some((end, reference(&rest[1..end])?))) {
            Some((end, c)) => {
                result.push(c);
                rest = &rest[end + 1..];
            }
            None => {
                result.push('&');
                rest = &rest[1..];
            }
        }
    }
    Ok(Answer::result(result + rest))
}

fn reference(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        "nbsp" => Some('\u{a0}'),
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(digits) => u32::from_str_radix(digits, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)
        }
    }
}

pub(crate) fn rot13(text: &str) -> Result<Answer, Problem> {
    let turn = |c: char, first: u8| char::from((c as u8 - first + 13) % 26 + first);
    let result = text.chars().map(|c| match c {
        'a'..='z' => turn(c, b'a'),
        'A'..='Z' => turn(c, b'A'),
        other => other,
    });
    Ok(Answer::result(result.collect()))
}

fn decoded(bytes: Vec<u8>) -> Result<Answer, Problem> {
    String::from_utf8(bytes)
        .map(Answer::result)
        .map_err(|_| "It decodes to bytes that are not text.".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(answer: Result<Answer, Problem>) -> String {
        answer.map_or_else(|problem| problem, |answer| answer.response)
    }

    #[test]
    fn each_encoding_turns_back() {
        type Run = fn(&str) -> Result<Answer, Problem>;
        let pairs: [(Run, Run); 5] = [
            (base64_encode, base64_decode),
            (url_encode, url_decode),
            (hex_encode, hex_decode),
            (html_escape, html_unescape),
            (rot13, rot13),
        ];
        for (encode, decode) in pairs {
            for text in ["", "plain", "a b&c=<d> \"e\" 'f'", "héllo ✓ 100%", "++//"] {
                assert_eq!(result(decode(&result(encode(text)))), text);
            }
        }
    }

    #[test]
    fn what_does_not_decode_is_said_not_to() {
        assert!(base64_decode("***").is_err());
        assert!(base64_decode("/w==").is_err());
        assert_eq!(result(base64_decode("aGk_aGk")), "hi?hi");
        assert!(url_decode("%zz").is_err());
        assert!(url_decode("%4").is_err());
        assert!(hex_decode("abc").is_err());
        assert_eq!(result(html_unescape("&#x41;&#66;&unknown; & ;")), "AB&unknown; & ;");
    }
}
