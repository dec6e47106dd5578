//! The smallest agent: it answers with the query. Benchmarks measure the host through it, and it
//! shows that `wit-bindgen` alone, without the author's crate, is enough to write an agent.
//!
//! Owns no state; it must stay this small, since its cost is taken for the host's.
#![allow(missing_docs, unreachable_pub)]

use self::exports::stockade::agent::agent::{Description, Failure, Guest, Reply, Task};

wit_bindgen::generate!({ path: "../../../wit/agent", world: "plugin" });

struct Echo;

impl Guest for Echo {
    fn describe() -> Description {
        Description {
            name: "Echo".into(),
            description: "Answers with the words it was asked with.".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            category: "test".into(),
            triggers: vec!["echo".into(), "repeat after me".into()],
            examples: Vec::new(),
            context_schema: None,
            model: None,
            cost_per_query: None,
            default_query: None,
        }
    }

    fn handle(task: Task) -> Result<Reply, Failure> {
        Ok(Reply { response: task.query, data: None, model: None })
    }
}

export!(Echo);
