//! Tools for text: count, change case, encode, hash, sort lines, extract, format JSON.
//!
//! Owns no state; everything below this file is pure. It must not alter a text in a way that was
//! not asked for.

mod case;
mod count;
mod encode;
mod extract;
mod hash;
mod json;
mod lines;
mod operation;
mod request;

use serde::Deserialize;
use stockade_sdk::{Agent, Description, Failure, Reply, Task};

use operation::OPERATIONS;

struct TextTools;

/// What a caller may give along: the text, where it is not in the query itself.
#[derive(Deserialize)]
struct Context {
    text: Option<String>,
}

/// The data and the wording of an answer.
#[derive(Debug)]
struct Answer {
    response: String,
    data: stockade_sdk::Value,
}

impl Answer {
    /// An answer that is nothing but the text that came out.
    fn result(text: String) -> Self {
        let data = stockade_sdk::json!({ "result": text });
        Self { response: text, data }
    }
}

/// Why there is no answer, for whoever asked.
type Problem = String;

impl Agent for TextTools {
    fn describe() -> Description {
        Description::new(
            "Text Tools",
            "Works on text: counts words and characters, changes case, makes slugs, encodes and decodes base64, URLs, \
             hex and HTML, hashes with SHA-256 and others, sorts and deduplicates lines, extracts email addresses, \
             links and numbers, and validates or formats JSON.",
        )
        .version(env!("CARGO_PKG_VERSION"))
        .category("utility")
        .triggers([
            "count words", "word count", "count characters", "how many words", "uppercase", "lowercase", "title case",
            "snake case", "camel case", "kebab case", "slugify", "slug", "base64", "encode", "decode", "url encode",
            "html escape", "rot13", "hash", "sha256", "sha-256", "sha512", "md5", "checksum", "sort lines",
            "deduplicate", "remove duplicates", "reverse text", "extract emails", "email addresses", "extract links",
            "extract urls", "validate json", "pretty print json", "format json", "minify json", "word frequency",
            "trim whitespace", "text", "string",
        ])
        .self_tests([
            ("Slugify \"Hello, World!\"", "hello-world"),
            ("Count the words in \"the quick brown fox\"", "4 words"),
            ("base64 encode hello", "aGVsbG8="),
        ])
        .examples([
            "Convert this title to a URL slug: Ten Ways to Cook an Egg",
            "Uppercase: please be quiet",
            "Convert \"the old man and the sea\" to title case",
            "Make user account id camel case",
            "Decode base64 aGVsbG8gd29ybGQ=",
            "What is the SHA-256 hash of \"hello\"?",
            "MD5 checksum of password123",
            "URL encode a b&c=d",
            "How many characters are in \"hello world\"?",
            "Sort these lines:\nbanana\napple\ncherry",
            "Remove duplicate lines:\na\nb\na",
            "Extract the email addresses from: write to ada@example.com or bob@example.org",
            "Find all links in \"see https://example.com/a and http://example.org\"",
            "Is this valid JSON: {\"a\": 1}",
            "Pretty print this JSON: {\"a\":[1,2]}",
            "Reverse the text \"stressed\"",
            "What are the most frequent words in \"a rose is a rose is a rose\"",
        ])
        .context_schema(
            r#"{"type":["object","null"],"properties":{"text":{"type":"string","description":"The text to work on"}}}"#,
        )
        .cost_per_query("$0.000")
    }

    fn handle(task: Task) -> Result<Reply, Failure> {
        let context: Option<Context> = task.context_as()?;
        let given = context.and_then(|context| context.text);
        match answer(&task.query, given.as_deref()) {
            Ok(Answer { response, data }) => Ok(Reply::text(response).with_data(data)),
            Err(problem) => Err(Failure::invalid_input(problem)),
        }
    }
}

/// Finds what is asked for and on which text, and does it.
fn answer(query: &str, given: Option<&str>) -> Result<Answer, Problem> {
    let request = request::read(query, given, OPERATIONS)?;
    let operation = &OPERATIONS[request.operation];
    let mut answer = (operation.run)(&request.text)?;
    if let Some(data) = answer.data.as_object_mut() {
        data.insert("operation".to_owned(), operation.name.into());
    }
    Ok(answer)
}

stockade_sdk::agent!(TextTools);

#[cfg(test)]
mod tests {
    use super::*;

    fn text(query: &str) -> String {
        answer(query, None).map_or_else(|problem| format!("PROBLEM {problem}"), |answer| answer.response)
    }

    #[test]
    fn plain_questions_are_answered() {
        let cases = [
            ("Slugify \"Hello, World!\"", "hello-world"),
            ("slug for Crème Brûlée", "creme-brulee"),
            ("Uppercase: please be quiet", "PLEASE BE QUIET"),
            ("convert hello world to uppercase", "HELLO WORLD"),
            ("Convert \"the old man\" to title case", "The Old Man"),
            ("make user account id camel case", "userAccountId"),
            ("snake case of HTTPServer name", "http_server_name"),
            ("base64 encode hello", "aGVsbG8="),
            ("encode hello in base64", "aGVsbG8="),
            ("Decode base64 aGVsbG8gd29ybGQ=", "hello world"),
            ("base64 decode: aGVsbG8gd29ybGQ", "hello world"),
            ("url encode a b&c=d", "a%20b%26c%3Dd"),
            ("url decode a%20b%26c", "a b&c"),
            ("MD5 of hello", "5d41402abc4b2a76b9719d911017c592"),
            (
                "What is the SHA-256 hash of \"abc\"?",
                "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            ),
            ("Sort these lines:\nbanana\napple", "apple\nbanana"),
            ("Remove duplicate lines:\na\nb\na", "a\nb"),
            ("reverse \"stressed\"", "desserts"),
            ("rot13 Hello", "Uryyb"),
            ("html escape <b>\"x\"</b>", "&lt;b&gt;&quot;x&quot;&lt;/b&gt;"),
            ("hex encode hi", "6869"),
            ("minify json {\"a\" : [1, 2]}", "{\"a\":[1,2]}"),
        ];
        for (query, wanted) in cases {
            assert_eq!(text(query), wanted, "{query}");
        }
    }

    #[test]
    fn the_text_may_come_in_the_context() {
        let answer = answer("count the words", Some("one two"));
        assert!(answer.as_ref().is_ok_and(|answer| answer.response.starts_with("2 words")), "{answer:?}");
    }

    #[test]
    fn every_example_is_answered() {
        for example in TextTools::describe().examples {
            let text = text(&example.task);
            assert!(!text.starts_with("PROBLEM"), "{}: {text}", example.task);
            assert!(text.contains(example.expected.as_deref().unwrap_or("")), "{}: {text}", example.task);
        }
    }

    #[test]
    fn what_is_not_understood_is_said_to_be_so() {
        for query in ["How do I braise leeks", "", "?", "uppercase", "decode base64 ***", "count"] {
            assert!(text(query).starts_with("PROBLEM"), "{query}: {}", text(query));
        }
    }

    #[test]
    fn nothing_panics_on_odd_input() {
        let texts = [
            "", " ", "é", "\"", "\"\"", "“é”", "%", "%e", "%é", "&#x;", "&", "ß", "İ", "\n", ":", "@", "a@",
            "{",
        ];
        for operation in OPERATIONS {
            for text in texts {
                let _ = (operation.run)(text);
                for phrase in operation.phrases {
                    let _ = answer(&format!("{phrase} {text}"), None);
                    let _ = answer(&format!("{phrase}: {text}"), None);
                    let _ = answer(&format!("İ {text} {phrase}"), None);
                }
            }
        }
    }
}
