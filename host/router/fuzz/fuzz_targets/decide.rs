//! Feeds the router arbitrary agents and an arbitrary task: it must neither panic nor disagree with itself.
//!
//! `cargo +nightly fuzz run decide` in the crate's folder.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use stockade_router::{Agent, Change, Language, Router, Settings};

/// A router without agents for each language that was asked for: making one takes longer than all the rest.
static EMPTY: [OnceLock<Router>; Language::ALL.len()] = [const { OnceLock::new() }; Language::ALL.len()];

fuzz_target!(|input: (u8, Vec<(String, String, Vec<String>, Vec<String>)>, String)| {
    let (choice, agents, task) = input;
    let place = usize::from(choice) % EMPTY.len();
    let settings = Settings { language: Language::ALL[place], ..Settings::default() };
    let empty = EMPTY[place].get_or_init(|| Router::build(settings.clone(), []));
    let agents: Vec<Agent> = agents
        .into_iter()
        .take(16)
        .enumerate()
        .map(|(at, (id, description, triggers, examples))| Agent {
            // Some share a card: their texts are the same and their ids are not.
            name: if at % 3 == 0 { String::new() } else { id.clone() },
            id,
            description,
            triggers,
            category: String::new(),
            examples,
        })
        .collect();
    let puts: Vec<Change> = agents.iter().cloned().map(Change::Put).collect();
    let router = empty.apply(&puts);
    let decision = router.decide(&task, &router.all());
    assert_eq!(decision, router.explain(&task, &router.all()).decision);
    if choice >= 224 {
        let built = Router::build(settings, agents.clone());
        assert_eq!(decision, built.decide(&task, &built.all()));
    }
    // Whether the others are hidden, leave or were never there is the same.
    let stays = |id: &str| id.len() % 2 == 0;
    let visible = router.candidates(stays);
    let seen = router.explain(&task, &visible);
    let others = agents.iter().filter(|agent| !stays(&agent.id));
    let gone = router.apply(&others.map(|agent| Change::Remove(agent.id.clone())).collect::<Vec<_>>());
    assert_eq!(seen, gone.explain(&task, &gone.all()));
    let only: Vec<Change> =
        puts.into_iter().filter(|put| matches!(put, Change::Put(a) if stays(&a.id))).collect();
    let alone = empty.apply(&only);
    assert_eq!(seen, alone.explain(&task, &alone.all()));
});
