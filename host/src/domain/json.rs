//! JSON of others: how deep it nests, and whether usual readers can read it.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// Whether lists and objects are nested more than `max` deep.
pub fn is_deeper(json: &[u8], max: u32) -> bool {
    // Each level takes a byte: most bodies are shorter than the limit or nearly flat.
    if json.len() <= max as usize {
        return false;
    }
    let mut depth = 0_u32;
    let mut bytes = json.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' | b'[' => {
                depth += 1;
                if depth > max {
                    return true;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => skip_string(&mut bytes),
            _ => {}
        }
    }
    false
}

fn skip_string(bytes: &mut std::slice::Iter<'_, u8>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => {
                bytes.next();
            }
            _ => {}
        }
    }
}

/// Why a text is no JSON to pass on.
#[derive(Debug)]
pub enum Problem {
    /// It is none.
    NotJson(serde_json::Error),
    /// It is, by its grammar, and holds what readers refuse: a number out of range, half a character.
    Unreadable(serde_json::Error),
    /// It is nested too deep.
    TooDeep,
}

/// Checks that a text is JSON that usual readers take, nested at most `depth` deep (and 127). Builds nothing.
///
/// # Errors
/// What is wrong with it.
pub fn check(text: &str, depth: u32) -> Result<(), Problem> {
    if is_deeper(text.as_bytes(), depth) {
        return Err(Problem::TooDeep);
    }
    let Err(error) = serde_json::from_str::<Readable>(text) else { return Ok(()) };
    match serde_json::from_str::<serde::de::IgnoredAny>(text) {
        Ok(_) => Err(Problem::Unreadable(error)),
        Err(error) => Err(Problem::NotJson(error)),
    }
}

/// Any value, read whole and dropped.
struct Readable;

impl<'de> Deserialize<'de> for Readable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Readable {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
        while items.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self, A::Error> {
        while members.next_entry::<Self, Self>()?.is_some() {}
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_ignores_what_stands_in_strings() {
        assert!(!is_deeper(br#"{"a": ["b"]}"#, 2));
        assert!(is_deeper(br#"{"a": [["b"]]}"#, 2));
        assert!(!is_deeper(br#"{"a": "[[[[\"[[[["}"#, 1));
        assert!(!is_deeper(b"[][][][][]", 1));
        assert!(is_deeper(&[b'['; 1_000_000], 64));
        assert!(!is_deeper(b"\"\\", 1));
    }

    #[test]
    fn what_readers_refuse_is_told_from_what_is_no_json() {
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        for fine in ["null", "[1, -2.5e3, \"\\ud83d\\ude00\"]", r#"{"a": {"b": [true]}}"#, deep(60).as_str()]
        {
            assert!(check(fine, 60).is_ok(), "{fine}");
        }
        for unreadable in ["1e400", r#"["\ud800"]"#, &"9".repeat(5_000)] {
            assert!(matches!(check(unreadable, 60), Err(Problem::Unreadable(_))), "{unreadable}");
        }
        for none in ["", "{", "[1 2]", "nonsense", "{1: 2}"] {
            assert!(matches!(check(none, 60), Err(Problem::NotJson(_))), "{none}");
        }
        assert!(matches!(check(&deep(10_000), 60), Err(Problem::TooDeep)));
    }
}
