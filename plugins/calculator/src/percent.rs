//! Questions about percentages that are sentences rather than expressions.
//!
//! Owns no state; pure.

use stockade_sdk::json;

use crate::{Answer, Problem, expression::evaluate, number};

/// How a sentence is calculated from its two values, in the order in which they stand.
type Rule = fn(f64, f64) -> f64;

/// Sentences whose answer is a percentage.
const SHARES: &[(&[&str], Rule)] = &[
    (&["what percent of ", " is ", ""], |whole, part| part / whole * 100.0),
    (&["", " is what percent of ", ""], |part, whole| part / whole * 100.0),
    (&["", " as a percent of ", ""], |part, whole| part / whole * 100.0),
    (&["percent change from ", " to ", ""], |from, to| (to - from) / from * 100.0),
    (&["percent increase from ", " to ", ""], |from, to| (to - from) / from * 100.0),
    (&["percent difference from ", " to ", ""], |from, to| (to - from) / from * 100.0),
    (&["percent decrease from ", " to ", ""], |from, to| (from - to) / from * 100.0),
];

/// Sentences whose answer is an amount.
const AMOUNTS: &[(&[&str], Rule)] = &[
    (&["increase ", " by ", "%"], |amount, percent| amount * (1.0 + percent / 100.0)),
    (&["raise ", " by ", "%"], |amount, percent| amount * (1.0 + percent / 100.0)),
    (&["decrease ", " by ", "%"], |amount, percent| amount * (1.0 - percent / 100.0)),
    (&["reduce ", " by ", "%"], |amount, percent| amount * (1.0 - percent / 100.0)),
    (&["add ", "% to ", ""], |percent, amount| amount * (1.0 + percent / 100.0)),
    (&["subtract ", "% from ", ""], |percent, amount| amount * (1.0 - percent / 100.0)),
    (&["take ", "% off ", ""], |percent, amount| amount * (1.0 - percent / 100.0)),
    (&["", "% off ", ""], |percent, amount| amount * (1.0 - percent / 100.0)),
    (&["", "% more than ", ""], |percent, amount| amount * (1.0 + percent / 100.0)),
    (&["", "% less than ", ""], |percent, amount| amount * (1.0 - percent / 100.0)),
    (&["", "% tip on ", ""], |percent, amount| amount * percent / 100.0),
    (&["tip of ", "% on ", ""], |percent, amount| amount * percent / 100.0),
    (&["", "% tax on ", ""], |percent, amount| amount * percent / 100.0),
    (&["", "% on ", ""], |percent, amount| amount * percent / 100.0),
];

/// Answers a question about percentages; none where it is not one of these sentences.
pub(crate) fn answer(question: &str) -> Option<Result<Answer, Problem>> {
    for (pattern, rule) in SHARES {
        if let Some((first, second)) = capture(question, pattern) {
            return Some(calculate(question, first, second, *rule, "%"));
        }
    }
    let signs = question.replace(" percent", "%").replace(" %", "%");
    let sentence = signs.strip_prefix("a ").unwrap_or(&signs);
    for (pattern, rule) in AMOUNTS {
        if let Some((first, second)) = capture(sentence, pattern) {
            return Some(calculate(question, first, second, *rule, ""));
        }
    }
    None
}

fn calculate(question: &str, first: &str, second: &str, rule: Rule, unit: &str) -> Result<Answer, Problem> {
    let value = rule(evaluate(first)?, evaluate(second)?);
    if !value.is_finite() {
        return Err("This would divide by zero.".to_owned());
    }
    Ok(Answer {
        text: format!("{question}: {}{unit}", number::written(value)),
        data: json!({
            "kind": "percentage",
            "question": question,
            "value": number::json(value),
            "unit": if unit.is_empty() { None } else { Some(unit) },
        }),
    })
}

/// The two parts of a text that stand between the three parts of a pattern; the first part begins
/// the text and the last one ends it.
fn capture<'a>(text: &'a str, pattern: &[&str]) -> Option<(&'a str, &'a str)> {
    let [opening, middle, closing] = pattern else { return None };
    let inner = text.strip_prefix(opening)?.strip_suffix(closing)?;
    let (first, second) = inner.split_once(middle)?;
    (!first.trim().is_empty() && !second.trim().is_empty()).then_some((first, second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_understood() {
        let cases = [
            ("what percent of 80 is 12", 15),
            ("12 is what percent of 80", 15),
            ("12 as a percent of 80", 15),
            ("percent change from 50 to 75", 50),
            ("percent decrease from 80 to 60", 25),
            ("increase 200 by 10 percent", 220),
            ("add 19% to 200", 238),
            ("20% off 50", 40),
            ("a 20% tip on 50", 10),
            ("reduce 2 * 40 by 25%", 60),
        ];
        for (question, wanted) in cases {
            let answer = answer(question).unwrap_or_else(|| panic!("{question} was not understood"));
            assert_eq!(answer.map(|answer| answer.data["value"].clone()), Ok(json!(wanted)), "{question}");
        }
        assert!(answer("15% of 80").is_none());
        assert!(answer("what percent of 0 is 12").is_some_and(|answer| answer.is_err()));
    }
}
