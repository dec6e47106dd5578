//! What holds for every fleet and every text. The last test needs the public routing tasks: name their folder in
//! `STOCKADE_ROUTING_DATA`, or it does nothing.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;
use stockade_router::{Agent, Change, Router, Settings, evaluate};

const WORDS: &[&str] = &[
    "server",
    "cpu",
    "memory",
    "weather",
    "rain",
    "forecast",
    "translate",
    "french",
    "stock",
    "price",
    "the",
    "of",
    "book",
    "hotel",
    "flight",
    "recipe",
    "cook",
    "song",
    "play",
    "alarm",
    "set",
    "timer",
    "bank",
    "account",
    "天气",
    "größe",
];

fn text(most: usize) -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(WORDS), 0..most).prop_map(|words| words.join(" "))
}

fn agents() -> impl Strategy<Value = Vec<Agent>> {
    let one = (
        text(3),
        text(8),
        prop::collection::vec(text(3), 0..4),
        text(2),
        prop::collection::vec(text(6), 0..3),
    );
    prop::collection::vec(one, 1..12).prop_map(|list| {
        let numbered = list.into_iter().enumerate();
        numbered
            .map(|(at, (name, description, triggers, category, examples))| Agent {
                id: format!("agent-{at}"),
                name,
                description,
                triggers,
                category,
                examples,
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_same_question_has_the_same_answer_in_whatever_order_agents_came(
        agents in agents(), task in text(10), turn in 0usize..12
    ) {
        let router = Router::build(Settings::default(), agents.clone());
        let decision = router.decide(&task, &router.all());
        prop_assert_eq!(&decision, &router.decide(&task, &router.all()));
        let mut other = agents;
        other.reverse();
        let places = turn % other.len();
        other.rotate_left(places);
        let again = Router::build(Settings::default(), other);
        prop_assert_eq!(&decision, &again.decide(&task, &again.all()));
    }

    #[test]
    fn applying_changes_equals_building_anew(agents in agents(), more in agents(), task in text(10)) {
        let mut router = Router::build(Settings::default(), agents.clone());
        let mut expected = agents;
        for (at, agent) in more.into_iter().enumerate() {
            let change = if at % 3 == 2 { Change::Remove(agent.id.clone()) } else { Change::Put(agent.clone()) };
            expected.retain(|other| other.id != agent.id);
            if let Change::Put(agent) = &change {
                expected.push(agent.clone());
            }
            router = router.apply(&[change]);
        }
        let built = Router::build(Settings::default(), expected);
        prop_assert_eq!(router.len(), built.len());
        prop_assert_eq!(router.explain(&task, &router.all()), built.explain(&task, &built.all()));
    }

    #[test]
    fn many_changes_at_once_equal_the_same_ones_one_by_one(
        agents in agents(), removed in prop::collection::vec(0usize..12, 0..6), more in agents(), task in text(10)
    ) {
        let changes: Vec<Change> = removed
            .iter()
            .map(|at| Change::Remove(format!("agent-{at}")))
            .chain(more.into_iter().rev().enumerate().map(|(at, agent)| {
                // Some of them take the place of one that left, some come under a new id.
                if at % 2 == 0 { agent } else { Agent { id: format!("new-{at}"), ..agent } }
            }).map(Change::Put))
            .chain([Change::Remove("new-1".to_owned())])
            .collect();
        let first = Router::build(Settings::default(), agents.clone());
        let at_once = first.apply(&changes);
        let one_by_one = changes.iter().fold(first, |router, change| router.apply(std::slice::from_ref(change)));
        let mut expected = agents;
        for change in &changes {
            match change {
                Change::Put(agent) => {
                    expected.retain(|other| other.id != agent.id);
                    expected.push(agent.clone());
                }
                Change::Remove(id) => expected.retain(|other| other.id != *id),
            }
        }
        let puts: Vec<Change> = expected.iter().cloned().map(Change::Put).collect();
        let from_nothing = Router::build(Settings::default(), []).apply(&puts);
        let built = Router::build(Settings::default(), expected);
        let reasons = built.explain(&task, &built.all());
        for router in [at_once, one_by_one, from_nothing] {
            prop_assert_eq!(router.len(), built.len());
            prop_assert_eq!(&router.explain(&task, &router.all()), &reasons);
        }
    }

    #[test]
    fn agents_outside_the_candidates_have_no_influence(agents in agents(), hidden in agents(), task in text(10)) {
        let mut both = agents.clone();
        both.extend(hidden.into_iter().map(|agent| Agent { id: format!("hidden-{}", agent.id), ..agent }));
        let alone = Router::build(Settings::default(), agents);
        let together = Router::build(Settings::default(), both);
        let visible = together.candidates(|id| !id.starts_with("hidden-"));
        prop_assert_eq!(alone.explain(&task, &alone.all()), together.explain(&task, &visible));
    }

    #[test]
    fn agents_that_say_the_same_come_and_go_like_all_others(
        agents in agents(), copied in prop::collection::vec(0usize..12, 1..12), swapped in 0usize..24, task in text(10)
    ) {
        let mut all = agents.clone();
        all.extend(copied.iter().enumerate().map(|(at, of)| {
            Agent { id: format!("copy-{at}"), ..agents[of % agents.len()].clone() }
        }));
        let router = Router::build(Settings::default(), all.clone());
        // One takes what another one says, then some of them go.
        let (from, to) = (swapped % all.len(), swapped * 7 % all.len());
        all[to] = Agent { id: all[to].id.clone(), ..all[from].clone() };
        let goes = |id: &str| id.as_bytes()[id.len() - 1].is_multiple_of(3);
        let removed = all.iter().filter(|agent| goes(&agent.id)).map(|agent| Change::Remove(agent.id.clone()));
        let changes: Vec<Change> = [Change::Put(all[to].clone())].into_iter().chain(removed).collect();
        let applied = router.apply(&changes);
        let visible = router.apply(&changes[..1]);
        all.retain(|agent| !goes(&agent.id));
        let built = Router::build(Settings::default(), all);
        prop_assert_eq!(applied.len(), built.len());
        let reasons = built.explain(&task, &built.all());
        prop_assert_eq!(&applied.explain(&task, &applied.all()), &reasons);
        prop_assert_eq!(&visible.explain(&task, &visible.candidates(|id| !goes(id))), &reasons);
    }

    #[test]
    fn confidences_are_probabilities_that_never_rise(agents in agents(), task in text(10)) {
        let router = Router::build(Settings::default(), agents);
        let decision = router.decide(&task, &router.all());
        prop_assert!(decision.ranked.iter().all(|choice| (0.0..=1.0).contains(&choice.confidence)));
        prop_assert!(decision.ranked.is_sorted_by(|a, b| a.confidence >= b.confidence));
    }

    #[test]
    // What stands before `/` in an id is the tenant, which an explanation does not show.
    fn no_text_panics(id in "[^/\\n]{0,40}", words in prop::collection::vec("\\PC{0,60}", 0..5), task in "(?s).{0,5000}") {
        let agent = Agent {
            id,
            name: words.first().cloned().unwrap_or_default(),
            description: words.join(" "),
            triggers: words.clone(),
            category: String::new(),
            examples: words,
        };
        let other = Agent { id: "other".to_owned(), description: task.clone(), triggers: vec![task.clone()], ..Agent::default() };
        let router = Router::build(Settings::default(), [agent, other]);
        let explanation = router.explain(&task, &router.all());
        prop_assert_eq!(explanation.decision, router.decide(&task, &router.all()));
    }
}

/// Work that grows faster than the text would make these the slowest tests there are.
#[test]
fn five_thousand_characters_of_anything_are_decided() {
    let agents = (0..200).map(|at| Agent {
        id: at.to_string(),
        description: WORDS[at % WORDS.len()].to_owned(),
        triggers: vec!["a a a".to_owned(), "weather".to_owned()],
        ..Agent::default()
    });
    let router = Router::build(Settings::default(), agents);
    for unit in
        ["a", "a ", "天", "\u{301}", "'", "weathe ", "weathex ", "aB", "\0", "🦀", "ﷺ", "ß ", "\u{200d}"]
    {
        let task = unit.repeat(5_000 / unit.chars().count());
        let _ = router.explain(&task, &router.all());
    }
}

#[test]
fn an_unrelated_agent_moves_no_confidence_by_more_than_two_hundredths() {
    let Ok(folder) = std::env::var("STOCKADE_ROUTING_DATA") else { return };
    let read = |path: &str| std::fs::read_to_string(std::path::Path::new(&folder).join(path)).unwrap();
    let unrelated = Agent {
        id: "zz-unrelated".to_owned(),
        name: "Zymurgist".to_owned(),
        description: "Quokkas, zithers and ytterbium".to_owned(),
        triggers: vec!["ytterbium".to_owned(), "zither".to_owned()],
        ..Agent::default()
    };
    for set in ["clinc150", "metatool", "sealtools"] {
        let agents = evaluate::agents(&read(&format!("{set}/agents_desc.jsonl"))).unwrap();
        let queries = evaluate::queries(&read(&format!("{set}/queries_dev.jsonl"))).unwrap();
        let before = Router::build(Settings::default(), agents);
        let after = before.apply(&[Change::Put(unrelated.clone())]);
        for query in queries {
            let old = before.decide(&query.task, &before.all());
            let new = after.decide(&query.task, &after.all());
            let confidence =
                |decision: &stockade_router::Decision| decision.ranked.first().map_or(0.0, |c| c.confidence);
            let moved = (confidence(&old) - confidence(&new)).abs();
            assert!(moved <= 0.02, "{}: {moved}", query.task);
        }
    }
}
