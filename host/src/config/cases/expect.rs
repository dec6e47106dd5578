//! What a case expects of the agent: of its text, of its data, or how it must fail.

use regex::Regex;
use serde_json::{Map, Number, Value as Json};
use toml::de::DeValue;

use crate::config::entry::{Entry, Value, integer};
use crate::config::report::Report;
use crate::config::section::{Section, join};

/// What must be true of an answer, or of a failure. Without any, every answer passes.
#[derive(Debug, Clone, Default)]
pub struct Expect {
    /// `expect`: texts that the answer contains, or the failure's message.
    pub contains: Vec<String>,
    /// `equals`: the whole answer, or the whole message.
    pub equals: Option<String>,
    /// `matches`: what is found in it.
    pub matches: Option<Regex>,
    /// `data`: what the answer's data contains.
    pub data: Option<Json>,
    /// `fails`: the failure's code. Without it the task must be answered.
    pub fails: Option<&'static str>,
}

/// The words of `fails`, and the codes that they mean. The first four are the agent's own failures.
const FAILS: &[(&str, &str)] = &[
    ("invalid_input", "invalid_input"),
    ("denied", "denied"),
    ("unavailable", "agent_unavailable"),
    ("failed", "agent_failed"),
    ("agent_unavailable", "agent_unavailable"),
    ("agent_failed", "agent_failed"),
    ("agent_trapped", "agent_trapped"),
    ("agent_stopped", "agent_stopped"),
    ("deadline_exceeded", "deadline_exceeded"),
    ("fuel_exhausted", "fuel_exhausted"),
    ("host_limit_exceeded", "host_limit_exceeded"),
    ("invalid_request", "invalid_request"),
    ("memory_exhausted", "memory_exhausted"),
    ("output_too_large", "output_too_large"),
];

/// Reads what a case expects.
pub(super) fn read(report: &mut Report<'_>, section: &Section<'_, '_>) -> Expect {
    let contains = section.get("expect").and_then(|entry| entry.text_or_list(report)).unwrap_or_default();
    let words: Vec<&str> = FAILS.iter().map(|(word, _)| *word).collect();
    let fails = section.get("fails").and_then(|entry| entry.word(report, &words));
    let data = section.get("data");
    if let (Some(data), Some(word)) = (&data, fails) {
        let help = "remove `data`, or `fails`".to_owned();
        data.wrong(report, &format!("is expected of a task that `fails` as `{word}`, which has none"), help);
    }
    Expect {
        contains: contains.into_iter().map(|(_, text)| text.to_owned()).collect(),
        equals: section.get("equals").and_then(|entry| entry.text(report)).map(str::to_owned),
        matches: section.get("matches").and_then(|entry| pattern(report, &entry)),
        data: data.and_then(|entry| json(report, entry.value, &entry.path)),
        fails: fails.and_then(|word| FAILS.iter().find(|(known, _)| *known == word)).map(|(_, code)| *code),
    }
}

fn pattern(report: &mut Report<'_>, entry: &Entry<'_, '_>) -> Option<Regex> {
    let text = entry.text(report)?;
    match Regex::new(text) {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            // The last line of its message says what is wrong; those above draw the pattern.
            let error = error.to_string();
            let reason = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
            let help = "write it in single quotes, where `\\` needs no doubling: '\\d+ GiB'".to_owned();
            entry.wrong(report, &format!("is not a regular expression: {reason}"), help);
            None
        }
    }
}

/// A TOML value as JSON; dates become texts. What JSON has no form for is reported.
pub(super) fn json(report: &mut Report<'_>, value: Value<'_, '_>, path: &str) -> Option<Json> {
    let number = match value.get_ref() {
        DeValue::String(text) => return Some(text.as_ref().into()),
        DeValue::Boolean(flag) => return Some((*flag).into()),
        DeValue::Datetime(time) => return Some(time.to_string().into()),
        DeValue::Array(items) => {
            let item = |(at, item)| json(report, item, &format!("{path}[{at}]"));
            return items.iter().enumerate().map(item).collect::<Option<Vec<Json>>>().map(Json::Array);
        }
        DeValue::Table(table) => {
            let mut object = Map::new();
            for (name, value) in table {
                let value = json(report, value, &join(path, name.get_ref()))?;
                object.insert(name.get_ref().to_string(), value);
            }
            return Some(Json::Object(object));
        }
        DeValue::Integer(_) => integer(value).and_then(Number::from_i128),
        DeValue::Float(float) => float.as_str().replace('_', "").parse().ok().and_then(Number::from_f64),
    };
    if number.is_none() {
        let message = format!("`{path}` is a number that JSON does not have");
        report.wrong(value.span(), path, message, "write another number, or a text".to_owned());
    }
    number.map(Json::Number)
}
