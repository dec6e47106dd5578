//! An agent whose `describe` does what was written into its component: a JSON object after the mark
//! below, which the tests overwrite. `describe` in it is `wait`, `spin`, `trap` or `panic`; `name`,
//! `description`, `version`, `category`, `triggers`, `examples`, `model`, `cost`, `default` and `schema` are said as they
//! are. Its `handle` echoes.
//!
//! Owns no state.

use std::{thread, time::Duration};

use stockade_sdk::{Agent, Description, Failure, Reply, Task, Value};

const MARK: &[u8] = b"what-is-told:";

/// The mark, and room for what is told: blanks, which JSON ignores.
#[used]
static TOLD: [u8; 200_000] = {
    let mut told = [b' '; 200_000];
    let mut at = 0;
    while at < MARK.len() {
        told[at] = MARK[at];
        at += 1;
    }
    told
};

struct Storied;

impl Agent for Storied {
    fn describe() -> Description {
        let told = String::from_utf8_lossy(&std::hint::black_box(&TOLD)[MARK.len()..]);
        let told: Value = told.trim().parse().unwrap_or_default();
        let text = |key: &str| told[key].as_str().map(str::to_owned);
        let texts = |key: &str| {
            let list = told[key].as_array().cloned().unwrap_or_default();
            list.into_iter().filter_map(|one| one.as_str().map(str::to_owned)).collect::<Vec<_>>()
        };
        match told["describe"].as_str() {
            Some("wait") => thread::sleep(Duration::from_secs(1_000_000)),
            Some("spin") => loop {
                std::hint::black_box(());
            },
            Some("trap") => trap(),
            Some("panic") => panic!("`describe` was told to panic"),
            _ => {}
        }
        let mut description = Description::new(
            text("name").unwrap_or_else(|| "Storied".to_owned()),
            text("description").unwrap_or_else(|| "Says of itself what it was told.".to_owned()),
        )
        .version(text("version").unwrap_or_else(|| "1".to_owned()))
        .category(text("category").unwrap_or_else(|| "test".to_owned()))
        .triggers(texts("triggers"))
        .examples(texts("examples"));
        description.model = text("model");
        description.cost_per_query = text("cost");
        description.default_query = text("default");
        description.context_schema = text("schema");
        description
    }

    fn handle(task: Task) -> Result<Reply, Failure> {
        Ok(Reply::text(task.query))
    }
}

fn trap() {
    #[cfg(target_arch = "wasm32")]
    core::arch::wasm32::unreachable();
}

stockade_sdk::agent!(Storied);
