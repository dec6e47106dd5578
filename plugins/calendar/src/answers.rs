//! What is asked about dates, and the answers.
//!
//! Owns no state; pure: today's date and the time are handed in.

use jiff::{
    Span, Timestamp, Unit,
    civil::{Date, Weekday},
    tz::TimeZone,
};
use stockade_sdk::json;

use crate::{
    Answer, Problem,
    dates::{self, Found},
    reading,
};

const HELP: &str = "Ask for instance \"days between 2025-01-01 and 2025-12-25\", \"what day of the week is 4 July 1976\", \
                    \"90 days from today\", \"days until Christmas\", \"ISO week of 2024-12-30\" or \"unix timestamp \
                    1700000000\".";

/// Answers a question.
pub(crate) fn answer(query: &str, today: Date, now: Timestamp) -> Result<Answer, Problem> {
    let words = reading::words(query);
    let text = format!(" {} ", words.join(" "));
    let has = |phrases: &[&str]| phrases.iter().any(|phrase| text.contains(&format!(" {phrase} ")));
    let dates = dates::find(&words, today)?;

    if has(&["unix", "epoch", "timestamp"]) {
        return timestamp(&words, &dates, now);
    }
    if has(&["leap"]) {
        return leap(&words, dates.first().map_or(today, |found| found.date));
    }
    if let Some(answer) = shifted(&words, &dates, today)? {
        return Ok(answer);
    }
    if has(&["how old", "age", "born"])
        && let [born, rest @ ..] = &dates[..]
    {
        return age(born.date, rest.first().map_or(today, |on| on.date));
    }
    match &dates[..] {
        [from, to, ..] => between(from.date, to.date),
        [date] if has(&["until", "till", "to", "left", "before"]) && counts(&has) => {
            between(today, date.date)
        }
        [date] if has(&["since", "ago", "from", "passed"]) && counts(&has) => between(date.date, today),
        [date] => Ok(about(date.date)),
        [] if asks_for_today(&has) => Ok(about(today)),
        [] => Err(format!("There is no date in this question. {HELP}")),
    }
}

fn counts(has: &impl Fn(&[&str]) -> bool) -> bool {
    has(&["day", "days", "week", "weeks", "month", "months", "year", "years", "long", "far"])
}

fn asks_for_today(has: &impl Fn(&[&str]) -> bool) -> bool {
    has(&[
        "what day",
        "which day",
        "what date",
        "current date",
        "the date",
        "date is it",
        "week number",
        "week is it",
    ])
}

/// `90 days from 2025-03-01`, `100 days before today`, `in 3 weeks`, `2 weeks ago`.
fn shifted(words: &[String], dates: &[Found], today: Date) -> Result<Option<Answer>, Problem> {
    for start in 0..words.len() {
        let Some(span) = reading::span(&words[start..]) else { continue };
        let (span, taken) = span?;
        let after = words.get(start + taken).map(String::as_str).unwrap_or_default();
        let before = start.checked_sub(1).map(|at| words[at].as_str()).unwrap_or_default();
        let base = dates
            .iter()
            .find(|date| date.start > start)
            .or_else(|| dates.iter().find(|date| date.end <= start));
        let base = base.map_or(today, |found| found.date);
        let backwards = matches!(after, "before" | "ago" | "prior" | "earlier")
            || matches!(before, "minus" | "-" | "subtract");
        let forwards = matches!(after, "from" | "after" | "later" | "hence" | "to" | "past")
            || matches!(before, "in" | "plus" | "+" | "add" | "within");
        if !backwards && !forwards {
            continue;
        }
        let shift = if backwards { -span } else { span };
        let date = base.checked_add(shift).map_err(|_| "This date lies beyond the calendar.".to_owned())?;
        return Ok(Some(moved(base, span, backwards, date)));
    }
    Ok(None)
}

fn moved(base: Date, span: Span, backwards: bool, date: Date) -> Answer {
    let direction = if backwards { "before" } else { "after" };
    let mut answer = about(date);
    answer.response = format!("{} {direction} {base} is {}.", in_words(span), long(date));
    if let Some(data) = answer.data.as_object_mut() {
        data.insert("from".to_owned(), json!(base.to_string()));
        data.insert("span".to_owned(), json!((if backwards { -span } else { span }).to_string()));
    }
    answer
}

fn between(from: Date, to: Date) -> Result<Answer, Problem> {
    let problem = |_| "These dates lie too far apart.".to_owned();
    let days = i64::from(from.until((Unit::Day, to)).map_err(problem)?.get_days());
    let parts = from.until((Unit::Year, to)).map_err(problem)?;
    let order = match days {
        0 => format!("{from} is that very day."),
        days => {
            let size = days.abs();
            let mut text = format!("From {from} to {to} it is {}", plural(days, "day"));
            if size >= 14 {
                text += &format!(" ({} and {})", plural(size / 7, "week"), plural(size % 7, "day"));
            }
            if size >= 60 {
                text += &format!(", or {}", in_words(parts.abs()));
            }
            text + "."
        }
    };
    Ok(Answer {
        response: order,
        data: json!({
            "from": from.to_string(),
            "to": to.to_string(),
            "days": days,
            "weeks": days as f64 / 7.0,
            "parts": { "years": parts.get_years(), "months": parts.get_months(), "days": parts.get_days() },
        }),
    })
}

fn age(born: Date, on: Date) -> Result<Answer, Problem> {
    if born > on {
        return Err(format!("{born} has not come yet on {on}."));
    }
    let span = born.until((Unit::Year, on)).map_err(|_| "These dates lie too far apart.".to_owned())?;
    let days = born.until((Unit::Day, on)).map_err(|_| "These dates lie too far apart.".to_owned())?;
    Ok(Answer {
        response: format!(
            "Someone born on {} is {} old on {on}.",
            long(born),
            plural(span.get_years().into(), "year")
        ),
        data: json!({
            "born": born.to_string(),
            "on": on.to_string(),
            "years": span.get_years(),
            "months": span.get_months(),
            "days": span.get_days(),
            "total_days": days.get_days(),
        }),
    })
}

/// A timestamp becomes a time, a date becomes a timestamp, and neither asks for now.
fn timestamp(words: &[String], dates: &[Found], now: Timestamp) -> Result<Answer, Problem> {
    let digits = |word: &&String| word.trim_start_matches('-').bytes().all(|byte| byte.is_ascii_digit());
    let number =
        words.iter().filter(digits).filter(|word| word.len() > 4).find_map(|word| word.parse::<i64>().ok());
    let time = match (number, dates.first()) {
        // Beyond the year 5138 in seconds: these are milliseconds.
        (Some(number), _) if number.unsigned_abs() >= 100_000_000_000 => Timestamp::from_millisecond(number),
        (Some(number), _) => Timestamp::from_second(number),
        (None, Some(found)) => found.date.to_zoned(TimeZone::UTC).map(|zoned| zoned.timestamp()),
        (None, None) => Ok(now),
    };
    let time = time.map_err(|_| "This timestamp lies beyond the calendar.".to_owned())?;
    let date = time.to_zoned(TimeZone::UTC).date();
    Ok(Answer {
        response: format!("Unix timestamp {} is {time}, a {}.", time.as_second(), name(date.weekday())),
        data: json!({
            "timestamp": time.as_second(),
            "time": time.to_string(),
            "date": date.to_string(),
            "weekday": name(date.weekday()),
        }),
    })
}

fn leap(words: &[String], date: Date) -> Result<Answer, Problem> {
    let named = words.iter().filter(|word| word.len() <= 4).find_map(|word| word.parse::<i16>().ok());
    let year = named.unwrap_or_else(|| date.year());
    let first = Date::new(year, 1, 1).map_err(|_| format!("There is no year {year} in this calendar."))?;
    let leap = first.in_leap_year();
    Ok(Answer {
        response: format!(
            "{year} is {}: it has {} days.",
            if leap { "a leap year" } else { "no leap year" },
            first.days_in_year()
        ),
        data: json!({ "year": year, "leap_year": leap, "days": first.days_in_year() }),
    })
}

/// Everything there is to say about one date.
fn about(date: Date) -> Answer {
    let week = date.iso_week_date();
    Answer {
        response: format!(
            "{date} is a {}: day {} of {}, in ISO week {} of {}.",
            name(date.weekday()),
            date.day_of_year(),
            date.year(),
            week.week(),
            week.year()
        ),
        data: json!({
            "date": date.to_string(),
            "weekday": name(date.weekday()),
            "day_of_year": date.day_of_year(),
            "iso_week": week.week(),
            "iso_year": week.year(),
            "days_in_month": date.days_in_month(),
            "leap_year": date.in_leap_year(),
        }),
    }
}

fn long(date: Date) -> String {
    format!("{}, {date}", name(date.weekday()))
}

fn in_words(span: Span) -> String {
    let parts = [
        (i64::from(span.get_years()), "year"),
        (i64::from(span.get_months()), "month"),
        (i64::from(span.get_weeks()), "week"),
        (i64::from(span.get_days()), "day"),
    ];
    let words: Vec<String> =
        parts.iter().filter(|(count, _)| *count != 0).map(|(count, unit)| plural(*count, unit)).collect();
    match words.split_last() {
        None => "0 days".to_owned(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}

fn plural(count: i64, what: &str) -> String {
    format!("{count} {what}{}", if count.abs() == 1 { "" } else { "s" })
}

fn name(weekday: Weekday) -> &'static str {
    match weekday {
        Weekday::Monday => "Monday",
        Weekday::Tuesday => "Tuesday",
        Weekday::Wednesday => "Wednesday",
        Weekday::Thursday => "Thursday",
        Weekday::Friday => "Friday",
        Weekday::Saturday => "Saturday",
        Weekday::Sunday => "Sunday",
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn text(query: &str) -> String {
        answer(query, date(2025, 11, 21), Timestamp::UNIX_EPOCH)
            .map_or_else(|problem| format!("PROBLEM {problem}"), |answer| answer.response)
    }

    #[test]
    fn plain_questions_are_answered() {
        let cases = [
            (
                "How many days between 2025-01-01 and 2025-12-25?",
                "358 days (51 weeks and 1 day), or 11 months and 24 days",
            ),
            ("What day of the week is 4 July 1976?", "1976-07-04 is a Sunday"),
            ("What day is it today?", "2025-11-21 is a Friday: day 325 of 2025, in ISO week 47 of 2025."),
            ("what day is it", "2025-11-21"),
            ("90 days from 2025-03-01", "90 days after 2025-03-01 is Friday, 2025-05-30."),
            ("date three weeks from tomorrow", "3 weeks after 2025-11-22 is Saturday, 2025-12-13."),
            ("2 weeks ago", "2 weeks before 2025-11-21 is Friday, 2025-11-07."),
            ("in 10 days", "10 days after 2025-11-21 is Monday, 2025-12-01."),
            ("today + 3 days", "3 days after 2025-11-21"),
            ("2 months after 2025-12-31", "2 months after 2025-12-31 is Saturday, 2026-02-28."),
            ("How many days until Christmas?", "it is 34 days"),
            ("how long until 2025-11-22", "it is 1 day."),
            ("days since 2025-11-20", "it is 1 day."),
            ("Which ISO week is 2024-12-30 in?", "ISO week 1 of 2025"),
            ("Is 2028 a leap year?", "2028 is a leap year: it has 366 days."),
            ("is 1900 a leap year", "no leap year"),
            ("How old is someone born on 12 May 1990?", "35 years old"),
            ("unix timestamp 1700000000", "2023-11-14T22:13:20Z, a Tuesday"),
            ("epoch 1700000000000 to date", "2023-11-14T22:13:20Z"),
            ("unix timestamp of 2024-02-29", "Unix timestamp 1709164800 is"),
            ("current unix time", "Unix timestamp 0 is"),
        ];
        for (query, wanted) in cases {
            assert!(text(query).contains(wanted), "{query}: {}", text(query));
        }
    }

    #[test]
    fn what_is_not_understood_is_said_to_be_so() {
        for query in
            ["How do I braise leeks", "", "hello", "9999999 years from today", "03/04/2025", "2025-13-01"]
        {
            assert!(text(query).starts_with("PROBLEM"), "{query}: {}", text(query));
        }
    }

    #[test]
    fn nothing_panics_on_odd_input() {
        let pieces = [
            "9999-12-31",
            "-9999-01-01",
            "tomorrow",
            "next friday",
            "99999999999999999999",
            "days",
            "1",
            "from",
            "unix",
            "leap",
            "é",
            "29 february",
            "9223372036854775807",
            "until",
            "born",
            "-",
            "march",
            "3/3/2025",
            "years",
            "ago",
        ];
        for today in [date(2025, 11, 21), date(9999, 12, 31), date(-9999, 1, 1)] {
            for a in pieces {
                for b in pieces {
                    for c in pieces {
                        let _ = answer(&format!("{a} {b} {c}"), today, Timestamp::MAX);
                    }
                }
            }
        }
    }
}
