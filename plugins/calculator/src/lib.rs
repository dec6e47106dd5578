//! Arithmetic, percentages, unit conversion and number bases, asked for in plain language.
//!
//! Owns no state; everything below this file is pure. It must not guess: what it does not
//! understand is answered with what it would.

mod bases;
mod expression;
mod functions;
mod number;
mod percent;
mod units;
mod wording;

use stockade_sdk::{Agent, Description, Failure, Reply, Task, Value};

struct Calculator;

/// An answer before it becomes a reply.
#[derive(Debug, PartialEq)]
struct Answer {
    text: String,
    data: Value,
}

/// Why there is no answer, for whoever asked.
type Problem = String;

const HELP: &str = "Ask for instance \"12 * (3 + 4)\", \"15% of 80\", \"square root of 2\", \"5 miles in km\", \
                    \"72 fahrenheit to celsius\" or \"255 in hex\".";

impl Agent for Calculator {
    fn describe() -> Description {
        Description::new(
            "Calculator",
            "Calculates arithmetic expressions, percentages, roots, powers and other functions, converts units of \
             length, weight, volume, temperature, speed, time and data, and converts numbers between decimal, hex, \
             binary and octal.",
        )
        .version(env!("CARGO_PKG_VERSION"))
        .category("utility")
        .triggers([
            "calculate", "calculator", "compute", "math", "arithmetic", "plus", "minus", "times", "multiply",
            "multiplied by", "divided by", "divide", "percent", "percentage", "square root", "to the power of",
            "factorial", "logarithm", "convert", "unit conversion", "miles", "kilometers", "km", "pounds", "kilograms",
            "ounces", "celsius", "fahrenheit", "gallons", "liters", "inches", "feet", "hex", "hexadecimal", "binary",
            "octal", "tip",
        ])
        .self_tests([("What is 15% of 80?", "= 12"), ("Convert 5 miles to km", "8.04672 km"), ("255 in hex", "0xff")])
        .examples([
            "Calculate 12 * (3 + 4)",
            "What is 17 times 23?",
            "What is the square root of 144?",
            "How much is 20% off 59.90?",
            "12 is what percent of 80?",
            "What is the percentage change from 50 to 75?",
            "Add 19% to 250",
            "2 to the power of 10",
            "Compute sin(30 degrees) + ln(e)",
            "What is the average of 3, 7 and 11?",
            "How many ounces are in 2 pounds?",
            "Convert 72 fahrenheit to celsius",
            "5 ft 10 in in cm",
            "100 km/h in mph",
            "How many megabytes in 3 GiB?",
            "Convert 0b1010 to decimal",
            "What is 1 divided by 7?",
        ])
        .cost_per_query("$0.000")
    }

    fn handle(task: Task) -> Result<Reply, Failure> {
        match answer(&task.query) {
            Ok(Answer { text, data }) => Ok(Reply::text(text).with_data(data)),
            Err(problem) => Err(Failure::invalid_input(format!("{problem} {HELP}"))),
        }
    }
}

/// Answers a question, or says why not in a whole sentence.
fn answer(query: &str) -> Result<Answer, Problem> {
    let question = wording::question(query);
    if question.is_empty() {
        return Err("There is nothing to calculate in this.".to_owned());
    }
    if let Some(answer) = bases::answer(&question) {
        return answer;
    }
    if let Some(answer) = units::answer(&question) {
        return answer;
    }
    if let Some(answer) = percent::answer(&question) {
        return answer;
    }
    let value = expression::evaluate(&question)?;
    let shown = wording::shown(query);
    Ok(Answer {
        text: format!("{shown} = {}", number::written(value)),
        data: stockade_sdk::json!({ "kind": "arithmetic", "expression": shown, "value": number::json(value) }),
    })
}

stockade_sdk::agent!(Calculator);

#[cfg(test)]
mod tests {
    use super::*;

    fn text(query: &str) -> String {
        answer(query).map_or_else(|problem| format!("PROBLEM {problem}"), |answer| answer.text)
    }

    #[test]
    fn plain_questions_are_answered() {
        let cases = [
            ("What is 15% of 80?", "15% of 80 = 12"),
            ("calculate 12 * (3 + 4)", "12 * (3 + 4) = 84"),
            ("What's 17 times 23", "17 times 23 = 391"),
            ("how much is 1,234.5 + 0.5?", "1,234.5 + 0.5 = 1235"),
            ("0.1 + 0.2", "0.1 + 0.2 = 0.3"),
            ("2 to the power of 10", "2 to the power of 10 = 1024"),
            ("What is the square root of 144?", "square root of 144 = 12"),
            ("200 + 10%", "200 + 10% = 220"),
            ("17 mod 5", "17 mod 5 = 2"),
            ("-2^2", "-2^2 = -4"),
            ("what is the average of 3, 7 and 11?", "average of 3, 7 and 11 = 7"),
            ("half of 37", "half of 37 = 18.5"),
            ("five times six", "five times six = 30"),
            ("3 million divided by 4", "3 million divided by 4 = 750000"),
            ("What is the factorial of 5?", "factorial of 5 = 120"),
            ("The sum of 4 and 5", "sum of 4 and 5 = 9"),
            ("12 ÷ 4 × 3", "12 ÷ 4 × 3 = 9"),
        ];
        for (query, wanted) in cases {
            assert_eq!(text(query), wanted, "{query}");
        }
    }

    #[test]
    fn every_example_is_answered() {
        for example in Calculator::describe().examples {
            let text = text(&example.task);
            assert!(!text.starts_with("PROBLEM"), "{}: {text}", example.task);
            assert!(text.contains(example.expected.as_deref().unwrap_or("")), "{}: {text}", example.task);
        }
    }

    #[test]
    fn what_is_no_calculation_is_said_to_be_none() {
        for query in
            ["How do I braise leeks", "hello", "", "?", "in", "to", "%", "what is", "5 leeks in km", "km"]
        {
            assert!(text(query).starts_with("PROBLEM"), "{query}: {}", text(query));
        }
        assert!(text("1/0").contains("divided by zero"));
        assert!(text("sqrt(-1)").contains("no real value"));
        assert!(text("5 miles in kg").contains("length"), "{}", text("5 miles in kg"));
    }

    #[test]
    fn nothing_panics_on_odd_input() {
        let pieces = [
            "(", ")", "-", "%", "!", "1", "in", "km", "of", "0x", "0b2", "é", "e9", ",", "^", "hex", ".", "√",
        ];
        for a in pieces {
            for b in pieces {
                for c in pieces {
                    let _ = answer(&format!("{a} {b} {c}"));
                    let _ = answer(&format!("{a}{b}{c}"));
                }
            }
        }
        for piece in pieces {
            let _ = answer(&piece.repeat(1000));
        }
    }
}
