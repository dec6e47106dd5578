//! The four agents that come with the host, and tasks as people type them: what fits routes with confidence, and
//! what does not is no match, whether the agents declare examples or not.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;

use stockade_router::{Agent, Router, Settings, Verdict, evaluate};

/// The agents, word for word as the host lists them.
fn fleet() -> Vec<Agent> {
    evaluate::agents(include_str!("shipped.jsonl")).expect("agents")
}

/// The tasks that an agent is tested on and has an answer to.
fn cases(agent: &str) -> Vec<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../plugins/{agent}/cases.toml"));
    let file: toml::Table = std::fs::read_to_string(file).expect("its cases").parse().expect("TOML");
    let cases = file["case"].as_array().expect("cases").iter();
    let answered = cases.filter(|case| case.get("fails").is_none());
    answered.map(|case| case["task"].as_str().expect("a task").to_owned()).collect()
}

/// The fleet with its examples, and without.
fn routers() -> [(&'static str, Router); 2] {
    let mut plain = fleet();
    plain.iter_mut().for_each(|agent| agent.examples.clear());
    [
        ("with examples", Router::build(Settings::default(), fleet())),
        ("without", Router::build(Settings::default(), plain)),
    ]
}

#[test]
fn what_fits_routes() {
    for (which, router) in routers() {
        for (task, expected) in [
            ("Check CPU usage on the server", "vps-monitor"),
            ("Check server health", "vps-monitor"),
            ("Show me server health metrics", "vps-monitor"),
            ("How much memory is free?", "vps-monitor"),
            ("is the disk full", "vps-monitor"),
            ("15% of 80", "calculator"),
            ("what is 17 times 23", "calculator"),
            ("convert 10 miles to km", "calculator"),
            ("what day is 2026-12-24", "calendar"),
            ("how many days until christmas", "calendar"),
            ("count the words in this sentence", "text-tools"),
            ("sha256 of hello", "text-tools"),
        ] {
            // A number, a sign or one word of forty is little to go by: these need the examples.
            if which == "without" && ["15% of 80", "what is 17 times 23", "sha256 of hello"].contains(&task) {
                continue;
            }
            let decision = router.decide(task, &router.all());
            let best = &decision.ranked[0];
            assert_eq!(decision.verdict, Verdict::Routed, "{which}: {task}: {decision:?}");
            assert_eq!(best.agent, expected, "{which}: {task}: {decision:?}");
        }
    }
}

/// What an author gives as an example is his agent's, and what an agent is tested on reaches it.
#[test]
fn their_own_tasks_reach_them() {
    let router = Router::build(Settings::default(), fleet());
    let (mut lost, mut all) = (Vec::new(), 0);
    for agent in fleet() {
        let own = agent.examples.iter().cloned().map(|task| (task, "example"));
        for (task, kind) in own.chain(cases(&agent.id).into_iter().map(|task| (task, "case"))) {
            let decision = router.decide(&task, &router.all());
            let right = decision.ranked.first().is_some_and(|best| best.agent == agent.id);
            let routed = right && decision.verdict == Verdict::Routed;
            assert!(routed || kind == "case", "{task}: {decision:?}");
            all += 1;
            if !routed {
                lost.push(task);
            }
        }
    }
    // Cases without a word, such as "-2^2", say nothing that a router could go by.
    assert!(lost.len() * 20 <= all, "{} of {all}: {lost:?}", lost.len());
}

/// The README's quick start promises this.
#[test]
fn what_is_nobodys_business_is_far_from_a_match() {
    for (which, router) in routers() {
        for task in ["How do I braise leeks", "Who won the match last night?", "Write me a poem about autumn"]
        {
            let decision = router.decide(task, &router.all());
            let confidence = decision.ranked.first().map_or(0.0, |best| best.confidence);
            assert_eq!(decision.verdict, Verdict::NoMatch, "{which}: {task}: {decision:?}");
            assert!(confidence < 0.3, "{which}: {task}: {decision:?}");
        }
    }
}

#[test]
fn what_does_not_fit_is_no_match() {
    for (which, router) in routers() {
        for task in [
            "How do I braise leeks",
            "What is the best way to roast beets",
            "tell me about your mother",
            "who won the football match",
            "play some jazz",
            "write me a poem about autumn",
            "is it going to rain in Lisbon",
            "book a table for two",
            "who painted the mona lisa",
            "asdf qwer zxcv",
        ] {
            let decision = router.decide(task, &router.all());
            assert_eq!(decision.verdict, Verdict::NoMatch, "{which}: {task}: {decision:?}");
        }
    }
}

#[test]
fn two_agents_with_the_same_texts_are_ambiguous() {
    for (_, router) in routers() {
        let mut agents = fleet();
        agents.push(Agent { id: "calendar-2".to_owned(), ..agents[2].clone() });
        let router = Router::build(router.settings().clone(), agents);
        let decision = router.decide("how many days until christmas", &router.all());
        assert_eq!(decision.verdict, Verdict::Ambiguous, "{decision:?}");
    }
}

#[test]
fn one_corrected_word_is_never_certain() {
    for (_, router) in routers() {
        for task in ["serber", "calender", "chrismas"] {
            let explanation = router.explain(task, &router.all());
            assert_eq!(explanation.corrections.len(), 1, "{task}");
            assert!(explanation.decision.ranked[0].confidence < 0.61, "{task}: {:?}", explanation.decision);
        }
    }
}
