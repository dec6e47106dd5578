//! Dates: how far apart, which weekday, what comes so many days later, ISO weeks, Unix timestamps.
//!
//! Owns no state; everything below this file is pure and is handed today's date. It must not guess
//! which of two readings of a date was meant: `03/04/2025` is asked to be written another way.

mod answers;
mod dates;
mod reading;

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use serde::Deserialize;
use stockade_sdk::{Agent, Description, Failure, Reply, Task, Value};

struct Calendar;

/// What a caller may give along.
#[derive(Deserialize)]
struct Context {
    /// The day that `today` stands for, as `2025-12-31`; without it, today in UTC.
    today: Option<String>,
}

/// The data and the wording of an answer.
#[derive(Debug)]
struct Answer {
    response: String,
    data: Value,
}

/// Why there is no answer, for whoever asked.
type Problem = String;

impl Agent for Calendar {
    fn describe() -> Description {
        Description::new(
            "Calendar",
            "Answers questions about dates: days between two dates, the weekday of a date, the date so many days, \
             weeks or months from another, days until a date, ISO week numbers, leap years, ages, and Unix timestamps.",
        )
        .version(env!("CARGO_PKG_VERSION"))
        .category("utility")
        .triggers([
            "date", "dates", "calendar", "days between", "how many days", "days until", "days since", "weeks between",
            "what day", "day of the week", "weekday", "what date", "days from", "days after", "days before",
            "weeks from", "months from", "week number", "iso week", "leap year", "unix timestamp", "unix time", "epoch",
            "today", "tomorrow", "yesterday", "how old", "day of the year", "christmas",
        ])
        .self_tests([
            ("How many days between 2025-01-01 and 2025-12-25?", "358 days"),
            ("What day of the week is 4 July 1976?", "Sunday"),
        ])
        .examples([
            "What day is it today?",
            "What date is 90 days from 2025-03-01?",
            "What is the date three weeks from tomorrow?",
            "How many days until Christmas?",
            "How many weeks between March 3 2025 and 1 June 2025?",
            "Which ISO week is 2024-12-30 in?",
            "Is 2028 a leap year?",
            "How old is someone born on 12 May 1990?",
            "Convert unix timestamp 1700000000 to a date",
            "What is the unix timestamp of 2024-02-29?",
            "What date was 100 days before 2025-01-01?",
            "Which day of the year is 2024-12-31?",
            "2 months after 2025-12-31",
            "When is next Friday?",
        ])
        .context_schema(
            r#"{"type":["object","null"],"properties":{"today":{"type":"string","format":"date","description":"The day that `today` stands for"}}}"#,
        )
        .cost_per_query("$0.000")
        .default_query("what day is it today")
    }

    fn handle(task: Task) -> Result<Reply, Failure> {
        let context: Option<Context> = task.context_as()?;
        let now = now()?;
        let today = match context.and_then(|context| context.today) {
            Some(text) => text.parse().map_err(|_| {
                Failure::invalid_input("`today` in the context must be a date such as 2025-12-31.")
            })?,
            None => now.to_zoned(jiff::tz::TimeZone::UTC).date(),
        };
        match answers::answer(&task.query, today, now) {
            Ok(Answer { response, data }) => Ok(Reply::text(response).with_data(data)),
            Err(problem) => Err(Failure::invalid_input(problem)),
        }
    }
}

fn now() -> Result<Timestamp, Failure> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since
        .ok()
        .and_then(|since| i64::try_from(since.as_secs()).ok())
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .ok_or_else(|| Failure::unavailable("The host's clock shows no usable time."))
}

stockade_sdk::agent!(Calendar);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_is_answered() {
        let today = jiff::civil::date(2025, 11, 21);
        for example in Calendar::describe().examples {
            let answer = answers::answer(&example.task, today, Timestamp::UNIX_EPOCH);
            let text = answer.map_or_else(|problem| format!("PROBLEM {problem}"), |answer| answer.response);
            assert!(!text.starts_with("PROBLEM"), "{}: {text}", example.task);
            assert!(text.contains(example.expected.as_deref().unwrap_or("")), "{}: {text}", example.task);
        }
    }
}
