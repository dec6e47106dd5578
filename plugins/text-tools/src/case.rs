//! Upper and lower case, and the ways to write several words as one.
//!
//! Owns no state; pure.

use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};

use crate::{Answer, Problem};

pub(crate) fn upper(text: &str) -> Result<Answer, Problem> {
    Ok(Answer::result(text.to_uppercase()))
}

pub(crate) fn lower(text: &str) -> Result<Answer, Problem> {
    Ok(Answer::result(text.to_lowercase()))
}

/// Each word with a capital first letter; everything between the words stays.
pub(crate) fn title(text: &str) -> Result<Answer, Problem> {
    let mut inside = false;
    let mut result = String::with_capacity(text.len());
    for c in text.chars() {
        if inside {
            result.extend(c.to_lowercase());
        } else {
            result.extend(c.to_uppercase());
        }
        inside = c.is_alphanumeric() || (inside && matches!(c, '\'' | '’'));
    }
    Ok(Answer::result(result))
}

pub(crate) fn snake(text: &str) -> Result<Answer, Problem> {
    joined(text, "_", |_, word| word)
}

pub(crate) fn kebab(text: &str) -> Result<Answer, Problem> {
    joined(text, "-", |_, word| word)
}

pub(crate) fn constant(text: &str) -> Result<Answer, Problem> {
    joined(text, "_", |_, word| word.to_uppercase())
}

pub(crate) fn camel(text: &str) -> Result<Answer, Problem> {
    joined(text, "", |place, word| if place == 0 { word } else { capitalized(&word) })
}

pub(crate) fn pascal(text: &str) -> Result<Answer, Problem> {
    joined(text, "", |_, word| capitalized(&word))
}

/// Lower-case ASCII letters and digits, joined by hyphens; accents are taken off.
pub(crate) fn slug(text: &str) -> Result<Answer, Problem> {
    let plain: String = text
        .replace(['\'', '’'], "")
        .replace('ß', "ss")
        .replace('&', " and ")
        .nfkd()
        .filter(|c| !is_combining_mark(*c))
        .collect();
    let lower = plain.to_lowercase();
    let parts: Vec<&str> =
        lower.split(|c: char| !c.is_ascii_alphanumeric()).filter(|part| !part.is_empty()).collect();
    if parts.is_empty() {
        return Err("There is no letter or digit in the text that a slug could hold.".to_owned());
    }
    Ok(Answer::result(parts.join("-")))
}

fn joined(text: &str, separator: &str, shape: impl Fn(usize, String) -> String) -> Result<Answer, Problem> {
    let words: Vec<String> =
        parts(text).into_iter().enumerate().map(|(place, word)| shape(place, word)).collect();
    if words.is_empty() {
        return Err("There is no word in the text.".to_owned());
    }
    Ok(Answer::result(words.join(separator)))
}

/// The words in lower case; a change from lower to upper case begins one too: `HTTPServer` is two.
fn parts(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let mut parts = vec![String::new()];
    for (at, c) in chars.iter().enumerate() {
        let before = at.checked_sub(1).map(|at| chars[at]);
        let after = chars.get(at + 1);
        let hump = c.is_uppercase()
            && before.is_some_and(|before| {
                before.is_lowercase()
                    || before.is_numeric()
                    || (before.is_uppercase() && after.is_some_and(|after| after.is_lowercase()))
            });
        if hump || !c.is_alphanumeric() {
            parts.push(String::new());
        }
        if c.is_alphanumeric()
            && let Some(part) = parts.last_mut()
        {
            part.extend(c.to_lowercase());
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}

fn capitalized(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(answer: Result<Answer, Problem>) -> String {
        answer.map_or_else(|problem| problem, |answer| answer.response)
    }

    #[test]
    fn words_are_joined_in_each_way() {
        assert_eq!(result(snake("HTTPServer name2Id")), "http_server_name2_id");
        assert_eq!(result(kebab("some_old-name")), "some-old-name");
        assert_eq!(result(camel("user account id")), "userAccountId");
        assert_eq!(result(pascal("user account id")), "UserAccountId");
        assert_eq!(result(constant("maxSize")), "MAX_SIZE");
        assert_eq!(result(title("o'neill's OLD car")), "O'neill's Old Car");
        assert_eq!(result(slug("Crème & Straße, it's 100%!")), "creme-and-strasse-its-100");
        assert!(slug("!!!").is_err());
    }
}
