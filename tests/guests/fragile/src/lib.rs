//! An agent that answers plain tasks and breaks on odd ones, each in a way of its own: what
//! `stockade test` is there to find.
//!
//! Owns no state. Every slip is one that somebody's first agent has made.
// The slips are the point.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::string_slice,
    clippy::indexing_slicing,
    clippy::unnecessary_wraps
)]

use stockade_sdk::{Agent, Description, Failure, Reply, Task, Value, json, log, system};

struct Fragile;

impl Agent for Fragile {
    fn describe() -> Description {
        Description::new("Fragile", "Repeats the beginning of what it is told.")
            .version(env!("CARGO_PKG_VERSION"))
            .triggers(["repeat"])
            .self_tests([("repeat after me: one", "after me"), ("repeat: two", "three")])
            .examples(["How much memory does the machine have?"])
    }

    fn handle(task: Task) -> Result<Reply, Failure> {
        println!("asked for {} bytes", task.query.len());
        log::info!("the request is {}", task.request_id);
        if task.query.contains("memory") {
            let memory = system::get_memory().unwrap();
            return Ok(Reply::text(format!("{} bytes", memory.total)));
        }
        if task.query.len() > 4_000 {
            // It never finds an end.
            loop {
                std::hint::black_box(());
            }
        }
        if task.query.chars().all(|c| c.is_ascii_punctuation()) {
            let mut reply = Reply::text("nothing to repeat");
            reply.data = Some(format!("{{'said': '{}'}}", task.query));
            return Ok(reply);
        }
        let context: Value = task.context_value()?;
        if context.is_array() {
            std::process::exit(3);
        }
        if context.is_string() {
            return Err(Failure::invalid_input(""));
        }
        // Forty bytes are not always whole characters.
        let beginning = &task.query[..task.query.len().min(40)];
        Ok(Reply::text(beginning).with_data(json!({ "length": beginning.len() })))
    }
}

stockade_sdk::agent!(Fragile);
