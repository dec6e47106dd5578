//! What it takes to check a value by a schema, counted before it is done.
//!
//! Pure. It goes the way that the check would go, and stops where that is too long.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::{EVALUATED_AGAIN, MAX_AUTOMATON, STATE, is_unevaluated};

/// Counts what a check takes, at the most, without making it.
pub(super) struct Cost<'s> {
    patterns: &'s HashMap<String, u64>,
    /// Steps that are left.
    left: u64,
    /// In how many alternatives a schema stands: their errors are collected, all of them.
    alternatives: u64,
    /// How often an error might copy what it is about.
    copies: u64,
}

impl<'s> Cost<'s> {
    /// At most so many steps; `patterns` says what each pattern costs, in steps a byte.
    pub(super) fn within(steps: u64, patterns: &'s HashMap<String, u64>) -> Self {
        Self { patterns, left: steps, alternatives: 0, copies: 1 }
    }

    /// How often an error might copy what it is about.
    pub(super) fn copies(&self) -> u64 {
        self.copies
    }
    fn charge(&mut self, steps: u64) -> Option<()> {
        self.left = self.left.checked_sub(steps)?;
        Some(())
    }

    /// The cost of checking `value` by `schema`, `times` over. `None` if that is too much.
    pub(super) fn of(&mut self, schema: &Value, value: &Value, times: u64) -> Option<()> {
        self.charge(times)?;
        self.copies = self.copies.saturating_add(self.alternatives);
        let Value::Object(keywords) = schema else { return Some(()) };
        let unevaluated = keywords.keys().any(|keyword| is_unevaluated(keyword));
        let times = if unevaluated { times.saturating_mul(EVALUATED_AGAIN) } else { times };
        self.charge(times.saturating_mul(keywords.len() as u64))?;
        keywords
            .iter()
            .try_for_each(|(keyword, argument)| self.of_keyword(keyword, argument, keywords, value, times))
    }

    fn of_keyword(
        &mut self,
        keyword: &str,
        argument: &Value,
        beside: &Map<String, Value>,
        value: &Value,
        times: u64,
    ) -> Option<()> {
        match (keyword, argument, value) {
            ("pattern", Value::String(pattern), Value::String(text)) => self.of_match(pattern, text, times),
            (
                "minLength" | "maxLength" | "format" | "contentMediaType" | "contentEncoding",
                _,
                Value::String(text),
            ) => self.charge(times.saturating_mul(text.len() as u64)),
            ("enum", Value::Array(options), _) => self.of_compared(options.len(), value, times),
            ("const", _, _) => self.of_compared(1, value, times),
            ("uniqueItems", Value::Bool(true), Value::Array(_)) => self.of_compared(16, value, times),
            ("required" | "dependentRequired" | "dependencies", names, Value::Object(_)) if !matches!(names, Value::Object(all) if all.values().any(Value::is_object)) => {
                self.charge(times.saturating_mul(size(names)))
            }
            ("properties", Value::Object(all), Value::Object(members)) => {
                self.charge(times.saturating_mul((all.len() + members.len()) as u64))?;
                all.iter().try_for_each(|(name, schema)| match members.get(name) {
                    Some(member) => self.of(schema, member, times),
                    None => Some(()),
                })
            }
            ("patternProperties", Value::Object(all), Value::Object(members)) => {
                for (pattern, schema) in all {
                    for (name, member) in members {
                        self.of_match(pattern, name, times)?;
                        self.of(schema, member, times)?;
                    }
                }
                Some(())
            }
            ("additionalProperties" | "unevaluatedProperties", schema, Value::Object(members)) => {
                // Which are additional is found by matching the patterns once more.
                let patterns = beside.get("patternProperties").and_then(Value::as_object);
                for (name, member) in members {
                    for pattern in patterns.into_iter().flat_map(Map::keys) {
                        self.of_match(pattern, name, times)?;
                    }
                    self.charge(times.saturating_mul(name.len() as u64))?;
                    self.of(schema, member, times)?;
                }
                Some(())
            }
            ("propertyNames", schema, Value::Object(members)) => members.keys().try_for_each(|name| {
                self.charge(times.saturating_mul(name.len() as u64))?;
                self.of(schema, &Value::String(name.clone()), times)
            }),
            ("prefixItems" | "items", Value::Array(all), Value::Array(items)) => {
                all.iter().zip(items).try_for_each(|(schema, item)| self.of(schema, item, times))
            }
            ("items" | "additionalItems" | "unevaluatedItems" | "contains", schema, Value::Array(items)) => {
                items.iter().try_for_each(|item| self.of(schema, item, times))
            }
            ("anyOf" | "oneOf", Value::Array(all), _) => {
                self.alternatives += 1;
                let counted = all.iter().try_for_each(|schema| self.of(schema, value, times));
                self.alternatives -= 1;
                counted
            }
            ("allOf", Value::Array(all), _) => {
                all.iter().try_for_each(|schema| self.of(schema, value, times))
            }
            ("dependentSchemas" | "dependencies", Value::Object(all), Value::Object(_)) => {
                all.values().try_for_each(|schema| self.of(schema, value, times))
            }
            ("not" | "if" | "then" | "else", schema, _) => self.of(schema, value, times),
            _ => Some(()),
        }
    }

    fn of_match(&mut self, pattern: &str, text: &str, times: u64) -> Option<()> {
        let most = MAX_AUTOMATON as u64 / STATE;
        let steps = self.patterns.get(pattern).copied().unwrap_or(most);
        self.charge(times.saturating_mul(steps).saturating_mul(text.len() as u64 + 1))
    }

    fn of_compared(&mut self, options: usize, value: &Value, times: u64) -> Option<()> {
        let steps = (options as u64).saturating_mul(size(value).div_ceil(16));
        self.charge(times.saturating_mul(steps))
    }
}

/// About how many bytes a value has.
fn size(value: &Value) -> u64 {
    match value {
        Value::String(text) => 1 + text.len() as u64,
        Value::Array(items) => 1 + items.iter().map(size).sum::<u64>(),
        Value::Object(map) => 1 + map.iter().map(|(key, value)| key.len() as u64 + size(value)).sum::<u64>(),
        _ => 1,
    }
}
