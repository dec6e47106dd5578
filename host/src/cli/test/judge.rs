//! An author's case: run as it says, and held against what it expects.

use serde_json::Value;

use super::conformance::{describe_failure, shown};
use super::report::Found;
use super::subject::{Attempt, Ran, Subject};
use crate::config::cases::{Case, Expect};
use crate::domain::Reply;

/// Runs a case.
pub(super) async fn run(subject: &Subject, case: &Case) -> Found {
    let attempt = Attempt {
        task: case.task.clone(),
        context: case.context.clone(),
        limits: case.limits,
        time_left: None,
        config: case.config.clone(),
        grants: case.grants.clone(),
        figures: case.system.clone(),
    };
    let ran = subject.run(attempt).await;
    let problem = judge(&case.expect, &ran);
    let task = problem.as_ref().map(|_| case.task.as_str().to_owned());
    Found { problem, task, usage: ran.usage, log: ran.log, ..Found::default() }
}

/// What is not as expected.
fn judge(expect: &Expect, ran: &Ran) -> Option<String> {
    let (text, data) = match (&ran.result, expect.fails) {
        (Ok(Reply { response, data, .. }), None) => (response.clone(), data.as_deref()),
        (Err(failure), Some(code)) if failure.code() == code => (failure.to_string(), None),
        (Ok(reply), Some(code)) => {
            return Some(format!(
                "it must fail as {code}, and it answers\nanswer: {}",
                shown(&reply.response)
            ));
        }
        (Err(failure), expected) => {
            let wanted = expected.map_or("be answered".to_owned(), |code| format!("fail as {code}"));
            return Some(format!("it must {wanted}, and it fails as {}", describe_failure(failure)));
        }
    };
    let mut problems = Vec::new();
    for wanted in expect.contains.iter().filter(|wanted| !text.contains(wanted.as_str())) {
        problems.push(format!("does not contain `{}`", shown(wanted)));
    }
    if let Some(wanted) = expect.equals.as_ref().filter(|wanted| **wanted != text) {
        problems.push(format!("is not `{}`", shown(wanted)));
    }
    if let Some(pattern) = expect.matches.as_ref().filter(|pattern| !pattern.is_match(&text)) {
        problems.push(format!("does not match `{pattern}`"));
    }
    let (what, label) = if expect.fails.is_some() { ("message", "message") } else { ("answer", "answer") };
    let mut lines: Vec<String> = problems.iter().map(|problem| format!("the {what} {problem}")).collect();
    if !lines.is_empty() {
        lines.push(format!("{label}: {}", shown(&text)));
    }
    if let Some(wanted) = &expect.data {
        lines.extend(differing_data(wanted, data));
    }
    (!lines.is_empty()).then(|| lines.join("\n"))
}

fn differing_data(wanted: &Value, data: Option<&str>) -> Vec<String> {
    let Some(data) = data else {
        return vec!["the answer has no `data`".to_owned()];
    };
    // The engine has checked that it is JSON.
    let Ok(data) = serde_json::from_str::<Value>(data) else { return Vec::new() };
    let mut lines = Vec::new();
    compare("data", wanted, &data, &mut lines);
    lines
}

/// Says where `found` does not contain `wanted`: tables may have more keys, lists have each item.
fn compare(path: &str, wanted: &Value, found: &Value, lines: &mut Vec<String>) {
    match (wanted, found) {
        (Value::Object(wanted), Value::Object(found)) => {
            for (key, wanted) in wanted {
                match found.get(key) {
                    Some(found) => compare(&format!("{path}.{key}"), wanted, found, lines),
                    None => lines.push(format!("`{path}.{key}` is not there")),
                }
            }
        }
        (Value::Array(wanted), Value::Array(found)) => {
            if wanted.len() != found.len() {
                lines.push(format!("`{path}` has {} items, not {}", found.len(), wanted.len()));
            }
            for (at, (wanted, found)) in wanted.iter().zip(found).enumerate() {
                compare(&format!("{path}[{at}]"), wanted, found, lines);
            }
        }
        // `50` and `50.0` are one number.
        (Value::Number(a), Value::Number(b)) if a == b || a.as_f64() == b.as_f64() => {}
        (wanted, found) if wanted == found => {}
        (wanted, found) => {
            lines.push(format!(
                "`{path}` is {}, not {}",
                shown(&found.to_string()),
                shown(&wanted.to_string())
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use regex::Regex;
    use serde_json::json;

    use super::*;
    use crate::domain::Failure;

    fn ran(result: Result<Reply, Failure>) -> Ran {
        Ran { result, usage: None, refused: false, log: Vec::new() }
    }

    fn answer(response: &str, data: Option<Value>) -> Ran {
        let data = data.map(|data| data.to_string());
        ran(Ok(Reply { response: response.to_owned(), data, model: None }))
    }

    #[test]
    fn an_answer_must_be_all_that_is_expected() {
        let expect = Expect {
            contains: vec!["12".to_owned(), "13".to_owned()],
            matches: Regex::new("^= \\d+$").ok(),
            ..Expect::default()
        };
        let problem = judge(&expect, &answer("= 12", None)).unwrap_or_default();
        assert!(
            problem.contains("`13`") && !problem.contains("`12`") && problem.contains("answer: = 12"),
            "{problem}"
        );
        let exact = Expect { equals: Some("= 12".to_owned()), ..Expect::default() };
        assert_eq!(judge(&exact, &answer("= 12", None)), None);
        assert!(judge(&exact, &answer("= 12 ", None)).is_some());
    }

    #[test]
    fn data_may_have_more_than_is_expected_and_no_less() {
        let judged = |wanted: Value, data: Value| {
            let expect = Expect { data: Some(wanted), ..Expect::default() };
            judge(&expect, &answer("", Some(data)))
        };
        assert_eq!(judged(json!({ "a": 50, "b": [1] }), json!({ "a": 50.0, "b": [1], "c": null })), None);
        let problem = judged(json!({ "a": { "b": 1 } }), json!({ "a": { "b": 2 } })).unwrap_or_default();
        assert_eq!(problem, "`data.a.b` is 2, not 1");
        assert!(judged(json!([1, 2]), json!([1])).is_some_and(|problem| problem.contains("1 items, not 2")));
        assert!(
            judged(json!({ "a": 1 }), json!({}))
                .is_some_and(|problem| problem.contains("`data.a` is not there"))
        );
        let expect = Expect { data: Some(json!({})), ..Expect::default() };
        assert!(judge(&expect, &answer("", None)).is_some());
    }

    #[test]
    fn a_failure_must_be_the_one_that_is_expected() {
        let expect =
            Expect { fails: Some("invalid_input"), contains: vec!["number".to_owned()], ..Expect::default() };
        let failed = |message: &str| ran(Err(Failure::InvalidInput(message.to_owned())));
        assert_eq!(judge(&expect, &failed("no number")), None);
        assert!(judge(&expect, &failed("what?")).is_some_and(|problem| problem.contains("message: what?")));
        assert!(judge(&expect, &answer("fine", None)).is_some_and(|problem| problem.contains("it answers")));
        let trapped = ran(Err(Failure::Trapped { internal: "panicked at lib.rs:1".to_owned() }));
        assert!(judge(&expect, &trapped).is_some_and(|problem| problem.contains("lib.rs:1")));
    }
}
