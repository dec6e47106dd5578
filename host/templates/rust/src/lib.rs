//! The agent: what it says about itself, and how it answers a task.

use stockade_sdk::{Agent, Description, Failure, Reply, Task, json, log};

struct Greeter;

impl Agent for Greeter {
    fn describe() -> Description {
        Description::new("My Agent", "Greets people by their name.")
            .version(env!("CARGO_PKG_VERSION"))
            .category("example")
            .triggers(["greet", "say hello"])
            .self_tests([("Greet Ada", "Hello, Ada!")])
            .examples(["Say hello to Grace"])
    }

    fn handle(task: Task) -> Result<Reply, Failure> {
        let Some(name) = whom(&task.query) else {
            return Err(Failure::invalid_input(
                "say whom to greet, as in \"Greet Ada\"",
            ));
        };
        log::info!("greeting {name}");
        Ok(Reply::text(format!("Hello, {name}!")).with_data(json!({ "name": name })))
    }
}

/// The name in "Greet Ada" or "Say hello to Ada".
fn whom(query: &str) -> Option<&str> {
    ["greet ", "say hello to "].iter().find_map(|beginning| {
        let (head, name) = query.split_at_checked(beginning.len())?;
        (head.eq_ignore_ascii_case(beginning) && !name.trim().is_empty()).then_some(name.trim())
    })
}

stockade_sdk::agent!(Greeter);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found() {
        assert_eq!(whom("Greet Ada"), Some("Ada"));
        assert_eq!(whom("say hello to Grace Hopper"), Some("Grace Hopper"));
        assert_eq!(whom("Greet"), None);
    }
}
