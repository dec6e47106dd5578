//! Feeds the router arbitrary agents and an arbitrary task: it must neither panic nor disagree with itself.
//!
//! `cargo +nightly fuzz run decide` in the crate's folder.

#![no_main]

use libfuzzer_sys::fuzz_target;
use stockade_router::{Agent, Change, Language, Router, Settings};

fuzz_target!(|input: (u8, Vec<(String, String, Vec<String>, Vec<String>)>, String)| {
    let (language, agents, task) = input;
    let language = Language::ALL[usize::from(language) % Language::ALL.len()];
    let agents: Vec<Agent> = agents
        .into_iter()
        .take(16)
        .map(|(id, description, triggers, examples)| Agent {
            name: id.clone(),
            id,
            description,
            triggers,
            category: String::new(),
            examples,
        })
        .collect();
    let settings = Settings { language, ..Settings::default() };
    let built = Router::build(settings.clone(), agents.clone());
    let decision = built.decide(&task, &built.all());
    assert_eq!(decision, built.explain(&task, &built.all()).decision);
    let empty = Router::build(settings, []);
    let changes: Vec<Change> = agents.into_iter().map(Change::Put).collect();
    let applied = empty.apply(&changes);
    assert_eq!(decision, applied.decide(&task, &applied.all()));
});
