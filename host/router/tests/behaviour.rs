//! What a person who writes agents or runs a host can rely on. Behaviour only, through the public interface.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use stockade_router::{Agent, Change, Decision, Language, Router, Settings, Verdict, evaluate, lint};

fn agent(id: &str, name: &str, description: &str, triggers: &[&str]) -> Agent {
    Agent {
        id: id.to_owned(),
        name: name.to_owned(),
        description: description.to_owned(),
        triggers: triggers.iter().map(|&trigger| trigger.to_owned()).collect(),
        ..Agent::default()
    }
}

fn fleet() -> Vec<Agent> {
    vec![
        agent(
            "vps-monitor",
            "VPS monitor",
            "Reports CPU, memory, disk, load and network usage of this server",
            &["cpu usage", "memory", "disk space", "server load", "uptime"],
        ),
        agent(
            "text-tools",
            "Text tools",
            "Counts words, sorts lines and changes the case of text",
            &["count words", "sort lines", "uppercase"],
        ),
        agent(
            "unit-converter",
            "Unit converter",
            "Converts lengths, weights and temperatures",
            &["convert", "miles", "kilograms", "celsius"],
        ),
        agent("calendar", "Calendar", "Shows and books meetings", &["meeting", "appointment", "schedule"]),
    ]
}

fn router() -> Router {
    Router::build(Settings::default(), fleet())
}

fn decide(router: &Router, task: &str) -> Decision {
    router.decide(task, &router.all())
}

fn routed(task: &str) -> Option<String> {
    let decision = decide(&router(), task);
    decision.best().map(|choice| choice.agent.clone())
}

#[test]
fn a_plain_task_finds_its_agent_and_an_odd_one_finds_none() {
    assert_eq!(routed("Check CPU usage on the server").as_deref(), Some("vps-monitor"));
    assert_eq!(routed("please convert 5 miles to kilometres").as_deref(), Some("unit-converter"));
    assert_eq!(routed("How do I braise leeks"), None);
    assert_eq!(routed(""), None);
    assert_eq!(routed("the of and to"), None);
}

#[test]
fn keywords_come_back_as_the_author_wrote_them() {
    let decision = decide(&router(), "check cpu usages on the servers");
    assert_eq!(decision.verdict, Verdict::Routed);
    let keywords = &decision.ranked[0].matched_keywords;
    assert!(keywords.iter().any(|keyword| keyword == "cpu usage"), "{keywords:?}");
}

#[test]
fn a_typo_is_corrected_but_a_known_word_is_not() {
    let router = router();
    let explanation = router.explain("kilogrms please", &router.all());
    assert_eq!(explanation.corrections[0].to, "kilograms");
    let with_both = router.apply(&[Change::Put(agent("b", "Kilogrms", "A band", &["kilogrms"]))]);
    let explanation = with_both.explain("kilogrms please", &with_both.all());
    assert!(explanation.corrections.is_empty());
}

#[test]
fn a_forbidden_word_keeps_an_agent_out_and_a_required_one_lets_it_in() {
    let with = |trigger: &str| {
        let mut agents = fleet();
        agents[0].triggers.push(trigger.to_owned());
        Router::build(Settings::default(), agents)
    };
    let first = |router: &Router, task: &str| decide(router, task).ranked.first().map(|c| c.agent.clone());
    let task = "check the cpu usage of the laptop";
    assert_eq!(first(&with("laptop"), task).as_deref(), Some("vps-monitor"));
    assert_ne!(first(&with("!laptop"), task).as_deref(), Some("vps-monitor"));
    assert_ne!(first(&with("+server"), task).as_deref(), Some("vps-monitor"));
    assert_eq!(first(&with("+server"), "check the cpu usage of the server").as_deref(), Some("vps-monitor"));
}

#[test]
fn two_that_fit_alike_are_ambiguous_and_both_are_named() {
    let mut agents = fleet();
    agents.push(Agent { id: "vps-monitor-2".to_owned(), ..agents[0].clone() });
    let router = Router::build(Settings::default(), agents);
    let decision = decide(&router, "Check CPU usage and memory on the server");
    assert_ne!(decision.verdict, Verdict::Routed);
    assert_eq!(decision.ranked[0].agent, "vps-monitor");
    assert_eq!(decision.ranked[1].agent, "vps-monitor-2");
}

#[test]
fn examples_teach_and_those_without_are_no_worse_off() {
    let mut agents = fleet();
    agents[3].examples = ["when do i see anna", "put lunch with bob on tuesday", "am i free at noon"]
        .map(str::to_owned)
        .to_vec();
    let router = Router::build(Settings::default(), agents);
    let first = |task: &str| decide(&router, task).ranked[0].agent.clone();
    assert_eq!(first("am i free on tuesday"), "calendar");
    assert_eq!(first("Check CPU usage on the server"), "vps-monitor");
}

#[test]
fn what_has_to_be_learned_first_is_not_decided_at_once() {
    let mut agents = fleet();
    agents[3].examples = ["when do i see anna", "put lunch with bob on tuesday"].map(str::to_owned).into();
    let router = Router::build(Settings::default(), agents);
    let (all, task) = (router.all(), "put lunch with anna on tuesday");
    assert_eq!(router.decide_at_once(task, &all), None);
    let decided = router.decide(task, &all);
    assert_eq!(router.decide_at_once(task, &all), Some(decided), "it was learned by deciding");
    let warm = router.candidates(|_| true);
    assert_eq!(router.decide_at_once(task, &warm), None, "others may call others");
    warm.warm();
    assert!(router.decide_at_once(task, &warm).is_some());
    let without = self::router();
    assert!(without.decide_at_once(task, &without.all()).is_some(), "there is nothing to be learned");
}

#[test]
fn chinese_and_japanese_need_no_spaces() {
    let agents = vec![
        agent("weather", "天气", "查询天气预报和气温", &["天气预报"]),
        agent("stocks", "股票", "查询股票价格", &["股票价格"]),
        agent("train", "電車", "電車の時刻表を調べる", &["時刻表"]),
    ];
    let router = Router::build(Settings { language: Language::Other, ..Settings::default() }, agents);
    let first = |task: &str| decide(&router, task).ranked[0].agent.clone();
    assert_eq!(first("明天北京的天气怎么样"), "weather");
    assert_eq!(first("请告诉我股票价格"), "stocks");
    assert_eq!(first("次の電車の時刻表を見せて"), "train");
}

#[test]
fn another_language_is_stemmed_by_its_own_rules() {
    let agents = vec![
        agent("haus", "Häuser", "Findet Wohnungen", &["wohnung"]),
        agent("auto", "Autos", "Findet Fahrzeuge", &["fahrzeug"]),
    ];
    let settings = Settings { language: Language::from_code("de").unwrap(), ..Settings::default() };
    let router = Router::build(settings, agents);
    assert_eq!(decide(&router, "ich suche eine Wohnung in Berlin").ranked[0].agent, "haus");
    assert_eq!(decide(&router, "welche Fahrzeuge gibt es").ranked[0].agent, "auto");
}

#[test]
fn every_language_has_a_code_that_leads_back_to_it() {
    for language in Language::ALL {
        assert_eq!(Language::from_code(language.code()), Some(*language));
    }
    assert_eq!(Language::from_code("tlh"), None);
}

#[test]
fn an_explanation_agrees_with_the_decision_and_names_its_reasons() {
    let router = router();
    let task = "Check CPU usage on the server, dear xylophone";
    let explanation = router.explain(task, &router.all());
    assert_eq!(explanation.decision, decide(&router, task));
    assert!(explanation.candidates[0].evidence.iter().any(|evidence| evidence.text == "cpu"));
    assert!(explanation.unknown.contains(&"xylophone".to_owned()));
    assert!(explanation.reason.contains("vps-monitor"));
}

#[test]
fn changes_put_replace_and_remove() {
    let router = router();
    let next = router.apply(&[
        Change::Put(agent("chef", "Chef", "Cooks", &["braise leeks"])),
        Change::Remove("calendar".to_owned()),
        Change::Remove("nobody".to_owned()),
    ]);
    assert_eq!((router.len(), next.len()), (4, 4));
    assert!(next.contains("chef") && !next.contains("calendar") && router.contains("calendar"));
    assert_eq!(decide(&next, "How do I braise leeks").ranked[0].agent, "chef");
    let replaced = next.apply(&[Change::Put(agent("chef", "Tailor", "Sews", &["shorten trousers"]))]);
    assert!(decide(&replaced, "how to braise leeks").best().is_none());
    assert!(next.apply(&fleet().iter().map(|a| Change::Remove(a.id.clone())).collect::<Vec<_>>()).len() == 1);
}

#[test]
fn the_linter_names_what_to_change() {
    let mut agents = fleet();
    agents.push(Agent { id: "vps-monitor-2".to_owned(), ..agents[0].clone() });
    agents.push(agent("mute", "Mute", "Does something unheard of", &[]));
    agents[1].triggers.push("!uppercase".to_owned());
    agents[1].triggers.push("cpu usage".to_owned());
    let warnings = lint::check(&Settings::default(), &agents);
    let has = |problem, first: &str| warnings.iter().any(|w| w.problem == problem && w.agents[0] == first);
    assert!(has(lint::Problem::NoTrigger, "mute"), "{warnings:#?}");
    assert!(has(lint::Problem::Competing, "vps-monitor"), "{warnings:#?}");
    assert!(has(lint::Problem::LosingTrigger, "text-tools"), "{warnings:#?}");
    assert!(
        lint::check(&Settings::default(), &fleet()).is_empty(),
        "{:#?}",
        lint::check(&Settings::default(), &fleet())
    );
}

#[test]
fn agents_of_one_name_are_told_apart_and_shown_by_that_name() {
    let of = |space: &str, triggers: &[&str]| agent(&format!("{space}/helper"), "Helper", "Helps", triggers);
    let router = Router::build(Settings::default(), [of("one", &["invoice"]), of("two", &["weather"])]);
    assert_eq!(router.len(), 2);
    let own = router.candidates_named(["one/helper"]);
    let decision = router.decide("the weather", &own);
    assert!(decision.best().is_none(), "{decision:?}");
    let decision = router.decide("an invoice", &own);
    assert_eq!(decision.ranked.iter().map(|choice| &*choice.agent).collect::<Vec<_>>(), ["one/helper"]);
    for task in ["an invoice", "the weather", "invoice weather"] {
        let shown = serde_json::to_string(&router.explain(task, &router.all())).unwrap();
        assert!(!shown.contains("one/") && !shown.contains("two/"), "{shown}");
    }
    let router = router.apply(&[Change::Remove("two/helper".to_owned())]);
    assert!(router.contains("one/helper") && router.len() == 1);
}

#[test]
fn evaluation_counts_right_wrong_and_rejected() {
    let lines = r#"{"task": "check cpu usage on the server", "expected": "vps-monitor"}
{"task": "count words in this text and sort lines", "expected": "nobody", "accept": ["text-tools", "nobody"]}
{"task": "convert miles to kilograms", "expected": "calendar"}
{"task": "check cpu usage on the server", "expected": "calendar", "candidates": ["calendar"]}

{"task": "how do i braise leeks", "expected": null}"#;
    let queries = evaluate::queries(lines).unwrap();
    let mut clock = 0.0;
    let report = evaluate::run(Settings::default(), fleet(), &queries, || {
        clock += 1e-6;
        clock
    });
    assert_eq!((report.metrics.queries, report.metrics.agents), (5, 4));
    assert!((report.metrics.top1 - 0.5).abs() < 1e-9, "{report:?}");
    assert_eq!(report.metrics.oos_recall, Some(1.0));
    assert_eq!(report.confusions.iter().map(|confusion| confusion.count).sum::<usize>(), 2);
    assert_eq!(evaluate::queries("{\"task\": 1}").unwrap_err().line, 1);
}
