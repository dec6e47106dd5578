//! An agent that also exports `health`. Its setting `healthy` decides what it reports: anything but
//! `false` is healthy; the setting `reason` says why it is not; `trap` and `hang` do what they say.
//!
//! Owns no state.

use stockade_sdk::{Agent, Description, Failure, Health, Reply, Task, config};

struct Patient;

impl Agent for Patient {
    fn describe() -> Description {
        Description::new("Patient", "Reports the health that its settings tell it to report.")
            .version(env!("CARGO_PKG_VERSION"))
            .category("test")
            .triggers(["patient"])
    }

    fn handle(task: Task) -> Result<Reply, Failure> {
        Ok(Reply::text(task.query))
    }
}

impl Health for Patient {
    fn check() -> Result<(), String> {
        match config::get_or("healthy", "true").as_str() {
            "false" => Err(config::get_or("reason", "told to be ill")),
            "trap" => panic!("the health check was told to trap"),
            "hang" => loop {
                std::hint::black_box(());
            },
            _ => Ok(()),
        }
    }
}

stockade_sdk::agent!(Patient, health);
