//! The JSON schema of `context`: a stranger's word that the host evaluates outside the sandbox.
//!
//! Pure. What a schema may hold is bounded before it is built, and what a check costs is counted
//! before it is made: for each keyword the values it meets, for each pattern their bytes times the
//! size of its automaton. An answer is yes or no first; it is explained only where that copies little.

mod cost;

use std::collections::HashMap;
use std::fmt::Write;

use serde_json::Value;

use crate::domain::text::Escaper;
use cost::Cost;

/// The most values that a schema may hold, itself included.
const MAX_VALUES: usize = 4_096;
/// How deep a schema may nest.
const MAX_DEPTH: usize = 64;
/// The most patterns that a schema may have.
const MAX_PATTERNS: usize = 32;
/// The longest pattern, in bytes.
const MAX_PATTERN: usize = 1_024;
/// The largest automaton of one pattern, in bytes.
const MAX_AUTOMATON: usize = 256 * 1024;
/// The largest automata of all patterns together, in bytes.
const MAX_AUTOMATA: usize = 1024 * 1024;
/// What a pattern's matcher may keep to be quick, in bytes: twice for each check that runs.
const MATCHER_CACHE: usize = 64 * 1024;
/// How deep `unevaluatedProperties` and `unevaluatedItems` may nest: each evaluates again what is below it.
const MAX_UNEVALUATED: usize = 3;
/// How often what is below one of them may be evaluated again.
const EVALUATED_AGAIN: u64 = 16;
/// Bytes of an automaton that are one step of matching a byte: about one of its states.
const STATE: u64 = 32;
/// The most steps that a check may take: some tens of milliseconds.
const MAX_STEPS: u64 = 16_000_000;
/// Bytes that an explanation may copy: the library's errors hold what they are about.
const MAX_COPIED: u64 = 4 * 1024 * 1024;
/// The longest explanation, in bytes.
const MAX_EXPLANATION: usize = 1_000;

/// A schema, ready to check contexts.
pub struct ContextSchema {
    value: Value,
    validator: jsonschema::Validator,
    /// What each pattern costs, in steps a byte.
    patterns: HashMap<String, u64>,
    /// The most steps that a byte of a context can cost.
    steps_a_byte: u64,
}

impl std::fmt::Debug for ContextSchema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ContextSchema").field(&self.value).finish()
    }
}

impl ContextSchema {
    /// Parses and builds a schema within all bounds. It takes milliseconds, up to about a second for the most patterns that fit.
    ///
    /// # Errors
    /// What is wrong with it, or which bound it exceeds.
    pub fn parse(text: &str) -> Result<Self, String> {
        let value =
            serde_json::from_str(text).map_err(|error| format!("`context-schema` is not JSON: {error}"))?;
        let mut values = 0;
        measure(&value, 1, &mut values)?;
        let mut found = Vec::new();
        patterns(&value, 0, &mut found)?;
        if found.len() > MAX_PATTERNS {
            return Err(format!(
                "`context-schema` has {} patterns, and {MAX_PATTERNS} are allowed; use `enum`, `format` or `maxLength` where they do",
                found.len()
            ));
        }
        let mut weights = HashMap::new();
        let mut total = 0;
        for pattern in found {
            let size = automaton(pattern)?;
            total += size;
            if total > MAX_AUTOMATA {
                return Err(format!(
                    "the patterns of `context-schema` need more than {} KiB together as automata; use fewer or smaller ones",
                    MAX_AUTOMATA / 1024
                ));
            }
            weights.insert(pattern.to_owned(), (size as u64).div_ceil(STATE));
        }
        let validator = build(&value, MAX_AUTOMATON)
            .map_err(|error| format!("`context-schema` is not a JSON schema: {error}"))?;
        let again = if mentions_unevaluated(&value) { EVALUATED_AGAIN } else { 1 };
        let steps_a_byte = weights.values().sum::<u64>().saturating_add(values as u64).saturating_mul(again);
        Ok(Self { value, validator, patterns: weights, steps_a_byte })
    }

    /// The schema itself.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// Whether checking so many bytes takes a moment at the most.
    pub(super) fn is_quick(&self, bytes: usize) -> bool {
        (bytes as u64).saturating_mul(self.steps_a_byte) <= MAX_STEPS / 16
    }

    /// Checks a context; none at all counts as `null`. It takes up to some tens of milliseconds.
    ///
    /// # Errors
    /// What does not fit, and where; or that the check would cost too much.
    pub fn check(&self, context: Option<&str>) -> Result<(), String> {
        let value = match context {
            Some(text) => serde_json::from_str(text).map_err(|error| error.to_string())?,
            None => Value::Null,
        };
        let mut cost = Cost::within(MAX_STEPS, &self.patterns);
        if cost.of(&self.value, &value, 1).is_none() {
            return Err("it is too large to be checked against the agent's schema; send less".to_owned());
        }
        if self.validator.is_valid(&value) {
            return Ok(());
        }
        let bytes = context.map_or(1, str::len) as u64;
        if cost.copies().saturating_mul(bytes) > MAX_COPIED {
            return Err(
                "it does not satisfy the agent's schema, and is too large to say where; send less to see it"
                    .to_owned(),
            );
        }
        match self.validator.validate(&value) {
            Ok(()) => Ok(()),
            Err(error) => {
                let mut text = Escaper::new(String::new(), MAX_EXPLANATION);
                let place = error.instance_path().as_str();
                // What is too long is cut, which is no failure here.
                let _ = match place {
                    "" => write!(text, "{error}"),
                    place => write!(text, "at `{place}`: {error}"),
                };
                Err(text.finish())
            }
        }
    }
}

/// Counts the values of a schema, refuses references, and bounds both number and depth.
fn measure(schema: &Value, depth: usize, values: &mut usize) -> Result<(), String> {
    *values += 1;
    if *values > MAX_VALUES {
        return Err(format!(
            "`context-schema` holds more than {MAX_VALUES} values; describe less of the context, or in fewer words"
        ));
    }
    if depth > MAX_DEPTH {
        return Err(format!("`context-schema` is nested more than {MAX_DEPTH} levels deep; make it flatter"));
    }
    match schema {
        Value::Object(map) => map.iter().try_for_each(|(key, value)| {
            if matches!(key.as_str(), "$ref" | "$dynamicRef" | "$recursiveRef") {
                let message = "`context-schema` uses references; write what they stand for in their places";
                return Err(message.to_owned());
            }
            measure(value, depth + 1, values)
        }),
        Value::Array(items) => items.iter().try_for_each(|item| measure(item, depth + 1, values)),
        _ => Ok(()),
    }
}

/// What a keyword's argument applies to, as far as it holds schemas.
fn subschemas<'s>(keyword: &str, argument: &'s Value) -> Vec<&'s Value> {
    match (keyword, argument) {
        ("allOf" | "anyOf" | "oneOf" | "prefixItems" | "items", Value::Array(all)) => all.iter().collect(),
        (
            "properties" | "patternProperties" | "dependentSchemas" | "dependencies" | "$defs"
            | "definitions",
            Value::Object(all),
        ) => all.values().collect(),
        (
            "items"
            | "additionalItems"
            | "unevaluatedItems"
            | "contains"
            | "additionalProperties"
            | "unevaluatedProperties"
            | "propertyNames"
            | "not"
            | "if"
            | "then"
            | "else"
            | "contentSchema",
            one,
        ) => vec![one],
        _ => Vec::new(),
    }
}

fn is_unevaluated(keyword: &str) -> bool {
    matches!(keyword, "unevaluatedProperties" | "unevaluatedItems")
}

fn mentions_unevaluated(schema: &Value) -> bool {
    let Value::Object(keywords) = schema else { return false };
    keywords.iter().any(|(keyword, argument)| {
        is_unevaluated(keyword) || subschemas(keyword, argument).into_iter().any(mentions_unevaluated)
    })
}

/// Collects the patterns of a schema: where schemas stand, not where values do.
fn patterns<'s>(schema: &'s Value, unevaluated: usize, found: &mut Vec<&'s str>) -> Result<(), String> {
    let Value::Object(keywords) = schema else { return Ok(()) };
    let unevaluated = unevaluated + usize::from(keywords.keys().any(|keyword| is_unevaluated(keyword)));
    if unevaluated > MAX_UNEVALUATED {
        return Err(format!(
            "`context-schema` nests `unevaluatedProperties` or `unevaluatedItems` more than {MAX_UNEVALUATED} levels deep; use `additionalProperties` or `items: false` inside"
        ));
    }
    for (keyword, argument) in keywords {
        let own: Vec<&str> = match (keyword.as_str(), argument) {
            ("pattern", Value::String(pattern)) => vec![pattern],
            ("patternProperties", Value::Object(all)) => all.keys().map(String::as_str).collect(),
            ("format", Value::String(format)) if format == "regex" => {
                return Err("`context-schema` uses the format `regex`, which the host does not check for \
                    strangers; leave it out"
                    .to_owned());
            }
            _ => Vec::new(),
        };
        if let Some(long) = own.iter().find(|pattern| pattern.len() > MAX_PATTERN) {
            return Err(format!(
                "a pattern of `context-schema` has {} bytes, and {MAX_PATTERN} are allowed: `{}…`",
                long.len(),
                long.chars().take(40).collect::<String>()
            ));
        }
        found.extend(own);
        for inner in subschemas(keyword, argument) {
            patterns(inner, unevaluated, found)?;
        }
    }
    Ok(())
}

/// The size of a pattern's automaton, in bytes, to the next power of two.
fn automaton(pattern: &str) -> Result<usize, String> {
    let schema = serde_json::json!({ "pattern": pattern });
    let mut size = 1024;
    while size <= MAX_AUTOMATON {
        if build(&schema, size).is_ok() {
            return Ok(size);
        }
        size *= 2;
    }
    Err(format!(
        "`context-schema` has a pattern that is not a regular expression (without look-around and back-references), or needs an automaton of more than {} KiB: `{}`; bound lengths by `maxLength` rather than by repetitions",
        MAX_AUTOMATON / 1024,
        pattern.chars().take(80).collect::<String>()
    ))
}

/// Patterns are matched in linear time, and by automata of bounded size: they are a stranger's.
fn build(schema: &Value, automaton: usize) -> Result<jsonschema::Validator, String> {
    let patterns = jsonschema::PatternOptions::regex().size_limit(automaton).dfa_size_limit(MATCHER_CACHE);
    jsonschema::options().with_pattern_options(patterns).build(schema).map_err(|error| {
        let mut text = Escaper::new(String::new(), MAX_EXPLANATION);
        // What is too long is cut, which is no failure here.
        let _ = write!(text, "{error}");
        text.finish()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;

    fn schema(value: &Value) -> ContextSchema {
        ContextSchema::parse(&value.to_string()).expect("a schema")
    }

    #[track_caller]
    fn refused(value: &Value, words: &[&str]) {
        let error = ContextSchema::parse(&value.to_string()).expect_err("more than is allowed");
        for word in words {
            assert!(error.contains(word), "{word}: {error}");
        }
    }

    #[test]
    fn schemas_are_bounded_before_they_are_built() {
        let many: Vec<Value> =
            (0..1_800).map(|n| json!({ "pattern": format!(r"\p{{L}}{{80}}{n}") })).collect();
        refused(&json!({ "anyOf": many }), &["1800 patterns"]);
        let fewer: Vec<Value> = (0..33).map(|n| json!({ "pattern": format!("^{n}") })).collect();
        refused(&json!({ "anyOf": fewer }), &["33 patterns", "32 are allowed"]);
        refused(&json!({ "pattern": r"\p{L}{80}N" }), &["256 KiB", r"\p{L}{80}N"]);
        refused(&json!({ "pattern": "(" }), &["not a regular expression", "`(`"]);
        refused(&json!({ "pattern": "a".repeat(1_025) }), &["1025 bytes", "1024"]);
        refused(&json!({ "anyOf": vec![false; 10_000] }), &["more than 4096 values"]);
        let deep = (0..100).fold(json!({}), |inner, _| json!({ "not": inner }));
        refused(&deep, &["64 levels"]);
        let again =
            (0..4).fold(json!({}), |inner, _| json!({ "allOf": [inner], "unevaluatedProperties": false }));
        refused(&again, &["unevaluatedProperties", "3 levels"]);
        refused(&json!({ "properties": { "a": { "$ref": "#" } } }), &["references"]);
        let large: Vec<Value> = (0..8).map(|n| json!({ "pattern": format!(r"\p{{L}}{{5}}{n}") })).collect();
        refused(&json!({ "allOf": large }), &["1024 KiB together"]);
        // A property of that name, and a value, are no patterns.
        schema(&json!({ "properties": { "pattern": { "examples": [{ "pattern": "(" }] } } }));
    }

    #[test]
    fn what_a_check_costs_is_counted_before_it_is_made() {
        let dear = r"(\p{L}{0,2}\p{N}){0,2}Qn$";
        let list: Vec<Value> = (0..4).map(|_| json!({ "pattern": dear })).collect();
        let letters = schema(&json!({ "properties": { "s": { "allOf": list } } }));
        let context = |size: usize| json!({ "s": "é".repeat(size) }).to_string();
        assert!(letters.check(Some(&context(10))).is_err_and(|error| error.contains("does not match")));
        assert!(letters.check(Some(&context(640_000))).expect_err("too much").contains("too large"));

        let falses = schema(&json!({ "properties": { "s": { "anyOf": vec![false; 4_000] } } }));
        let context = json!({ "s": "x".repeat(1_000_000) }).to_string();
        assert!(falses.check(Some(&context)).expect_err("false").contains("too large to say where"));

        let names = schema(&json!({ "anyOf": [{ "propertyNames": { "maxLength": 0 } }] }));
        let keys: Map<String, Value> = (0..6_000).map(|n| (format!("k{n}"), Value::Null)).collect();
        let context = Value::Object(keys).to_string();
        assert!(names.check(Some(&context)).expect_err("names").contains("too large to say where"));
        assert!(names.check(Some(r#"{"k": 1}"#)).is_err_and(|error| error.contains("anyOf")));
    }

    #[test]
    fn ordinary_schemas_check_ordinary_contexts_and_say_what_is_wrong_where() {
        let orders = schema(&json!({
            "type": "object",
            "required": ["id", "lines"],
            "properties": {
                "id": { "type": "string", "pattern": "^[0-9a-f]{8}-[0-9a-f]{4}$" },
                "kind": { "enum": ["a", "b", "c"] },
                "mail": { "type": "string", "maxLength": 200, "pattern": "^[^@ ]+@[^@ ]+$" },
                "lines": {
                    "type": "array", "maxItems": 10_000, "uniqueItems": true,
                    "items": {
                        "anyOf": [
                            { "type": "string", "minLength": 1 },
                            { "type": "object", "required": ["n"], "properties": { "n": { "type": "integer" } } }
                        ]
                    }
                }
            },
            "additionalProperties": false
        }));
        let lines: Vec<Value> = (0..5_000).map(|n| json!({ "n": n })).collect();
        let order =
            |id: &str, lines: &[Value]| json!({ "id": id, "mail": "a@b", "lines": lines }).to_string();
        assert_eq!(orders.check(Some(&order("01234567-89ab", &lines))), Ok(()));
        let wrong = orders.check(Some(&order("x", &lines[..3]))).expect_err("its id");
        assert!(wrong.starts_with("at `/id`: "), "{wrong}");
        let wrong = orders.check(Some(&order("01234567-89ab", &[json!(1)]))).expect_err("its line");
        assert!(wrong.starts_with("at `/lines/0`: "), "{wrong}");
        assert!(orders.check(None).is_err());
        let uuid = schema(&json!({ "items": { "pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$" } }));
        let ids = vec!["01234567-89ab-cdef-0123-456789abcdef"; 2_000];
        assert_eq!(uuid.check(Some(&json!(ids).to_string())), Ok(()));
    }

    #[test]
    fn an_explanation_is_short_and_cannot_move_a_cursor() {
        let numbers = schema(&json!({ "type": "number" }));
        let context = json!(format!("\u{9b}2J\u{202e}{}", "x".repeat(5_000))).to_string();
        let error = numbers.check(Some(&context)).expect_err("a string");
        assert!(error.len() < 1_200 && error.contains(r"\u{9b}2J\u{202e}"), "{error}");
    }
}
