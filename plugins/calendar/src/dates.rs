//! Finds the dates that some words name: `2025-12-31`, `31 December 2025`, `today`, `next friday`,
//! `christmas`.
//!
//! Owns no state; pure. A date without a year is the next one from today on.

use jiff::{
    ToSpan,
    civil::{Date, Weekday},
};

use crate::{Problem, reading::number};

/// A date that was found, and the words that it spans.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Found {
    pub(crate) date: Date,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// All dates, in the order in which they stand.
pub(crate) fn find(words: &[String], today: Date) -> Result<Vec<Found>, Problem> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < words.len() {
        match read(&words[at..], today)? {
            Some((date, taken)) => {
                found.push(Found { date, start: at, end: at + taken });
                at += taken;
            }
            None => at += 1,
        }
    }
    Ok(found)
}

fn read(words: &[String], today: Date) -> Result<Option<(Date, usize)>, Problem> {
    let Some(first) = words.first() else { return Ok(None) };
    let word = |at: usize| words.get(at).map(String::as_str).unwrap_or_default();
    let shifted = |days: i64| today.checked_add(days.days()).map_err(|_| beyond());
    if let Some(date) = numeric(first)? {
        return Ok(Some((date, 1)));
    }
    let named = match first.as_str() {
        "today" | "now" => Some((today, 1)),
        "tomorrow" => Some((shifted(1)?, 1)),
        "yesterday" => Some((shifted(-1)?, 1)),
        "next" | "last" | "this" | "coming" => match weekday(word(1)) {
            Some(weekday) if first == "last" => Some((nth(today, -1, weekday)?, 2)),
            Some(weekday) => Some((nth(today, 1, weekday)?, 2)),
            None => None,
        },
        "new" if word(1) == "year" || word(1) == "years" => {
            let eve = usize::from(word(2) == "s") + 2;
            Some(if word(eve) == "eve" {
                (yearly(12, 31, words, eve + 1, today)?.0, eve + 1)
            } else {
                let (date, taken) = yearly(1, 1, words, eve, today)?;
                (date, taken)
            })
        }
        "christmas" | "xmas" => {
            let eve = word(1) == "eve";
            let day = if word(1) == "day" || eve { 2 } else { 1 };
            Some(yearly(12, if eve { 24 } else { 25 }, words, day, today)?)
        }
        "halloween" => Some(yearly(10, 31, words, 1, today)?),
        "valentine" | "valentines" => {
            let skip = usize::from(word(1) == "s");
            Some(yearly(2, 14, words, 1 + skip + usize::from(word(1 + skip) == "day"), today)?)
        }
        _ => None,
    };
    if named.is_some() {
        return Ok(named);
    }
    // `3 march 2025`, `3 of march`
    if let (Some(day), skip) = (number(first), usize::from(word(1) == "of"))
        && let Some(month) = month(word(1 + skip))
        && first.bytes().all(|byte| byte.is_ascii_digit())
    {
        return yearly(month, day, words, 2 + skip, today).map(Some);
    }
    // `march 3 2025`; a month alone is no date.
    if let Some(month) = month(first) {
        let the = usize::from(word(1) == "the");
        let day = word(1 + the);
        if let Some(value) = number(day).filter(|value| *value <= 31 && day.as_bytes()[0].is_ascii_digit()) {
            return yearly(month, value, words, 2 + the, today).map(Some);
        }
    }
    if let Some(weekday) = weekday(first) {
        return Ok(Some((nth(today, 1, weekday)?, 1)));
    }
    Ok(None)
}

/// `2025-12-31`, `2025/12/31`, `31.12.2025`, and `12/31/2025` where it can be read in one way only.
fn numeric(word: &str) -> Result<Option<Date>, Problem> {
    let word = word.split_once('t').map_or(word, |(day, _)| day);
    for separator in ['-', '/', '.'] {
        let parts: Vec<&str> = word.split(separator).collect();
        let [a, b, c] = parts[..] else { continue };
        let (Some(x), Some(y), Some(z)) = (number(a), number(b), number(c)) else { continue };
        let (year, month, day) = match (a.len(), c.len(), separator) {
            (4, _, _) => (x, y, z),
            (_, 4, '.') => (z, y, x),
            (_, 4, _) if x > 12 => (z, y, x),
            (_, 4, _) if y > 12 || x == y => (z, x, y),
            (_, 4, _) => {
                return Err(format!(
                    "`{word}` can be read in two ways; write it as {c}-{a:0>2}-{b:0>2} or {c}-{b:0>2}-{a:0>2}."
                ));
            }
            _ => continue,
        };
        return date(year, month, day).map(Some);
    }
    Ok(None)
}

/// A day of a year: the year that follows in the words, or the next such day from today on.
fn yearly(month: i64, day: i64, words: &[String], at: usize, today: Date) -> Result<(Date, usize), Problem> {
    let of = usize::from(words.get(at).is_some_and(|word| word == "of" || word == "in"));
    let year = words.get(at + of).filter(|word| word.len() == 4).and_then(|word| number(word));
    if let Some(year) = year {
        return Ok((date(year, month, day)?, at + of + 1));
    }
    let this = i64::from(today.year());
    // The 29th of February may be up to eight years away.
    for year in this..=this + 8 {
        match date(year, month, day) {
            Ok(date) if date >= today => return Ok((date, at)),
            Err(problem) if !(month == 2 && day == 29) => return Err(problem),
            _ => {}
        }
    }
    Err(beyond())
}

fn date(year: i64, month: i64, day: i64) -> Result<Date, Problem> {
    let parts = i16::try_from(year).ok().zip(i8::try_from(month).ok()).zip(i8::try_from(day).ok());
    parts
        .and_then(|((year, month), day)| Date::new(year, month, day).ok())
        .ok_or_else(|| format!("There is no day {year:04}-{month:02}-{day:02}."))
}

fn nth(today: Date, nth: i32, weekday: Weekday) -> Result<Date, Problem> {
    today.nth_weekday(nth, weekday).map_err(|_| beyond())
}

fn beyond() -> Problem {
    "This date lies beyond the calendar, which ends with the year 9999.".to_owned()
}

fn weekday(word: &str) -> Option<Weekday> {
    Some(match word {
        "monday" | "mon" => Weekday::Monday,
        "tuesday" | "tue" => Weekday::Tuesday,
        "wednesday" | "wed" => Weekday::Wednesday,
        "thursday" | "thu" => Weekday::Thursday,
        "friday" | "fri" => Weekday::Friday,
        "saturday" | "sat" => Weekday::Saturday,
        "sunday" | "sun" => Weekday::Sunday,
        _ => return None,
    })
}

/// A month's name, in full or its first three letters.
fn month(word: &str) -> Option<i64> {
    const NAMES: [&str; 12] = [
        "january",
        "february",
        "march",
        "april",
        "may",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
    ];
    let place = NAMES.iter().position(|name| *name == word || (word.len() == 3 && name.starts_with(word)));
    let place = place.or_else(|| (word == "sept").then_some(8))?;
    i64::try_from(place + 1).ok()
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::reading::words;

    fn dates(text: &str) -> Vec<Date> {
        let found = find(&words(text), date(2025, 11, 21));
        found.unwrap_or_else(|problem| panic!("{text}: {problem}")).iter().map(|found| found.date).collect()
    }

    #[test]
    fn dates_are_found_however_they_are_written() {
        let wanted = date(2025, 12, 31);
        let texts = [
            "2025-12-31",
            "2025/12/31",
            "31.12.2025",
            "12/31/2025",
            "31/12/2025",
            "31 December 2025",
            "Dec 31, 2025",
            "December 31st",
            "the 31st of December 2025",
            "New Year's Eve",
            "2025-12-31T10:00:00Z",
        ];
        for text in texts {
            assert_eq!(dates(text), [wanted], "{text}");
        }
        assert_eq!(dates("from today to christmas"), [date(2025, 11, 21), date(2025, 12, 25)]);
        assert_eq!(dates("next Friday"), [date(2025, 11, 28)]);
        assert_eq!(dates("last friday"), [date(2025, 11, 14)]);
        assert_eq!(dates("1 February"), [date(2026, 2, 1)]);
        assert_eq!(dates("29 february"), [date(2028, 2, 29)]);
        assert_eq!(dates("you may go"), [] as [Date; 0]);
    }

    #[test]
    fn what_cannot_be_a_date_is_said_not_to_be() {
        let problem = |text: &str| find(&words(text), date(2025, 11, 21)).err().unwrap_or_default();
        assert!(problem("03/04/2025").contains("two ways"));
        assert!(problem("2025-02-30").contains("no day"));
        assert!(problem("31 april 2025").contains("no day"));
    }
}
