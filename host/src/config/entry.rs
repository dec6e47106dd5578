//! One value of the document, checked for form and range.
//!
//! Every reader answers `None` for a value that is wrong; what is wrong is in the report.

use std::ops::Range;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::key::{Kind, one_of};
use super::quantity::{self, SIZE_FORM, TIME_FORM, show_count, show_duration, show_size};
use super::report::Report;
use super::section::shorten;
use crate::domain::text::nearest;

/// A number that has no other name.
const TOO_LARGE: &str = "too large a number";

/// A value with its place.
pub(super) type Value<'a, 'i> = &'a Spanned<DeValue<'i>>;

/// A key's value, and what is known of the key.
#[derive(Clone)]
pub(super) struct Entry<'a, 'i> {
    pub(super) path: String,
    pub(super) name: &'static str,
    pub(super) value: Value<'a, 'i>,
    pub(super) kind: Kind,
    pub(super) example: Option<String>,
}

impl<'a, 'i> Entry<'a, 'i> {
    /// Says that the value is wrong.
    pub(super) fn wrong(&self, report: &mut Report<'_>, message: &str, help: impl Into<Option<String>>) {
        report.wrong(self.value.span(), &self.path, format!("`{}` {message}", self.path), help);
    }

    /// The text, of whatever form.
    pub(super) fn text(&self, report: &mut Report<'_>) -> Option<&'a str> {
        let text = self.value.get_ref().as_str();
        if text.is_none() {
            self.wrong_type(report);
        }
        text
    }

    /// A text or a list of texts, each with its place.
    pub(super) fn text_or_list(&self, report: &mut Report<'_>) -> Option<Vec<(Range<usize>, &'a str)>> {
        match self.value.get_ref() {
            DeValue::String(text) => Some(vec![(self.value.span(), text.as_ref())]),
            DeValue::Array(items) => {
                let mut texts = Vec::with_capacity(items.len());
                for item in items {
                    match item.get_ref().as_str() {
                        Some(text) => texts.push((item.span(), text)),
                        None => self.wrong_item(report, item),
                    }
                }
                (texts.len() == items.len()).then_some(texts)
            }
            _ => {
                self.wrong_type(report);
                None
            }
        }
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, report: &mut Report<'_>) -> Option<bool> {
        let flag = self.value.get_ref().as_bool();
        if flag.is_none() {
            self.wrong_type(report);
        }
        flag
    }

    /// A number from 0 to 1.
    pub(super) fn fraction(&self, report: &mut Report<'_>) -> Option<f64> {
        let number = match self.value.get_ref() {
            DeValue::Float(float) => float.as_str().parse::<f64>().ok(),
            DeValue::Integer(_) => integer(self.value).map(|number| number as f64),
            _ => {
                self.wrong_type(report);
                return None;
            }
        };
        let fraction = number.filter(|number| (0.0..=1.0).contains(number));
        if fraction.is_none() {
            self.wrong(report, "is out of range: it must be a number from 0 to 1", None);
        }
        fraction
    }

    /// One of the words that the key knows; `words` where they are not known before the host runs.
    pub(super) fn word(&self, report: &mut Report<'_>, words: &[&str]) -> Option<&'a str> {
        let text = self.text(report)?;
        if words.contains(&text) {
            return Some(text);
        }
        let hint = nearest(text, words).map(|word| format!("; did you mean `{word}`?")).unwrap_or_default();
        let message = format!("is `{}`, which is not known{hint}", shorten(text));
        self.wrong(report, &message, format!("use {}", one_of(words)));
        None
    }

    /// Words of a list, each one that the key knows.
    pub(super) fn words(&self, report: &mut Report<'_>) -> Option<Vec<&'a str>> {
        let Kind::Words { known } = self.kind else {
            return None;
        };
        let DeValue::Array(items) = self.value.get_ref() else {
            self.wrong_type(report);
            return None;
        };
        let read = |item: &'a Spanned<DeValue<'i>>| {
            Entry { value: item, kind: Kind::Other { form: "a word in quotes" }, ..self.clone() }
                .word(report, known)
        };
        let words: Vec<Option<&'a str>> = items.iter().map(read).collect();
        words.into_iter().collect()
    }

    pub(super) fn number(&self, report: &mut Report<'_>) -> Option<u64> {
        let (min, max, is_size) = match self.kind {
            Kind::Count { min, max, .. } => (min, max, false),
            Kind::Size { min, max, .. } => (min, max, true),
            _ => return None,
        };
        let number = match self.value.get_ref() {
            DeValue::Integer(_) => integer(self.value),
            DeValue::String(text) if is_size => match quantity::parse_size(text) {
                Some(bytes) => Some(i128::from(bytes)),
                None => {
                    self.wrong(report, "is not a size", SIZE_FORM.to_owned());
                    return None;
                }
            },
            _ => {
                self.wrong_type(report);
                return None;
            }
        };
        let fit = number.and_then(|number| u64::try_from(number).ok());
        if let Some(fit) = fit.filter(|fit| (min..=max).contains(fit)) {
            return Some(fit);
        }
        let shown = match (fit, number) {
            (Some(bytes), _) if is_size => show_size(bytes),
            (Some(number), _) => show_count(number),
            (None, Some(number)) => number.to_string(),
            (_, None) => TOO_LARGE.to_owned(),
        };
        self.out_of_range(report, &shown);
        None
    }

    pub(super) fn duration(&self, report: &mut Report<'_>) -> Option<Duration> {
        let Kind::Time { min, max, .. } = self.kind else {
            return None;
        };
        let duration = match self.value.get_ref() {
            DeValue::String(text) => quantity::parse_duration(text),
            DeValue::Integer(_) => match integer(self.value).map(u64::try_from) {
                Some(Ok(seconds)) => Some(Duration::from_secs(seconds)),
                _ => {
                    let number = integer(self.value).map(|seconds| seconds.to_string());
                    self.out_of_range(report, &number.unwrap_or_else(|| TOO_LARGE.to_owned()));
                    return None;
                }
            },
            DeValue::Float(seconds) => seconds.as_str().parse().ok().and_then(quantity::duration_of_seconds),
            _ => {
                self.wrong_type(report);
                return None;
            }
        };
        match duration {
            None => self.wrong(report, "is not a duration", TIME_FORM.to_owned()),
            Some(duration) if !(min..=max).contains(&duration) => {
                self.out_of_range(report, &show_duration(duration));
            }
            Some(duration) => return Some(duration),
        }
        None
    }

    pub(super) fn bounded_text(&self, report: &mut Report<'_>) -> Option<String> {
        let Kind::Text { max_chars } = self.kind else {
            return None;
        };
        let text = self.text(report)?;
        self.bounded(report, self.value.span(), text, max_chars)
    }

    pub(super) fn bounded_texts(&self, report: &mut Report<'_>) -> Option<Vec<String>> {
        let Kind::Texts { max_items, max_chars } = self.kind else {
            return None;
        };
        let DeValue::Array(items) = self.value.get_ref() else {
            self.wrong_type(report);
            return None;
        };
        if items.len() > max_items {
            let message = format!("has {} items: at most {max_items} are allowed", items.len());
            self.wrong(report, &message, "keep those that matter most".to_owned());
            return None;
        }
        let mut texts = Vec::with_capacity(items.len());
        for item in items {
            match item.get_ref().as_str() {
                Some(text) => texts.extend(self.bounded(report, item.span(), text, max_chars)),
                None => self.wrong_item(report, item),
            }
        }
        (texts.len() == items.len()).then_some(texts)
    }

    /// One text, not blank, of at most `max_chars`, without control characters but tabs and newlines.
    fn bounded(
        &self,
        report: &mut Report<'_>,
        span: Range<usize>,
        text: &str,
        max_chars: usize,
    ) -> Option<String> {
        let chars = text.chars().count();
        let control = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
        let (fault, help) = if text.trim().is_empty() {
            ("has an empty text".to_owned(), "write something, or remove it")
        } else if chars > max_chars {
            (format!("has a text of {chars} characters: at most {max_chars} are allowed"), "shorten it")
        } else if text.contains(control) {
            ("has a control character".to_owned(), "remove it")
        } else {
            return Some(text.to_owned());
        };
        report.wrong(span, &self.path, format!("`{}` {fault}", self.path), help.to_owned());
        None
    }

    fn out_of_range(&self, report: &mut Report<'_>, shown: &str) {
        let message = format!("is {shown}: it must be {}", self.kind);
        self.wrong(report, &message, self.example.as_ref().map(|line| format!("for example `{line}`")));
    }

    fn wrong_item(&self, report: &mut Report<'_>, item: &Spanned<DeValue<'_>>) {
        let message = format!("must be a list of texts: this is {}", type_name(item.get_ref()));
        report.wrong(
            item.span(),
            &self.path,
            format!("`{}` {message}", self.path),
            "put it in quotes".to_owned(),
        );
    }

    /// Says that the value is of another type than the key's.
    pub(super) fn wrong_type(&self, report: &mut Report<'_>) {
        let value = self.value.get_ref();
        let message = format!("must be {}, not {}", self.kind, type_name(value));
        let help = match (self.kind, value) {
            (Kind::Count { .. } | Kind::Fraction, DeValue::String(text)) if text.parse::<f64>().is_ok() => {
                Some(format!("write it without quotes: `{} = {text}`", self.name))
            }
            (Kind::Flag { .. }, DeValue::String(text)) if matches!(text.as_ref(), "true" | "false") => {
                Some(format!("write it without quotes: `{} = {text}`", self.name))
            }
            (Kind::Texts { .. } | Kind::Words { .. }, DeValue::String(_)) => {
                Some(format!("put brackets around it: `{} = [\"...\"]`", self.name))
            }
            _ => self.example.as_ref().map(|line| format!("for example `{line}`")),
        };
        self.wrong(report, &message, help);
    }
}

/// `value` as a whole number; `None` where it is none or has more than 127 bits.
pub(super) fn integer(value: Value<'_, '_>) -> Option<i128> {
    let number = value.get_ref().as_integer()?;
    i128::from_str_radix(number.as_str(), number.radix()).ok()
}

/// The type of a value with its article.
pub(super) fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "`true` or `false`",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
