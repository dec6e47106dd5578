//! Measures what the router holds in memory with 10,000 agents: one line for each step of a router's life.
//! Linux only, for it reads `/proc/self/status`.
//!
//! `cargo run --release -p stockade-router --example memory -- FOLDER same|distinct|taught [AGENTS]`. `same`: the texts of
//! four agents with triggers and examples under as many ids. `distinct`: texts mixed from Seal-Tools' ones.
//! `taught`: those of MetaTool mixed, with nine example tasks each.

#![allow(clippy::print_stdout, clippy::expect_used, clippy::unwrap_used)]

use std::path::Path;
use std::time::Instant;

use stockade_router::{Agent, Change, Router, Settings, evaluate};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let root = Path::new(args.first().expect("the folder of the sets"));
    let kind = args.get(1).map_or("same", String::as_str);
    let count = args.get(2).map_or(10_000, |count| count.parse().expect("a number of agents"));
    let read = |path: &str| std::fs::read_to_string(root.join(path)).expect("a readable file");
    let from = |at: usize| match kind {
        "same" => ("metatool/agents_train.jsonl", 4, at % 4 * 10..at % 4 * 10 + 12),
        "taught" => ("metatool/agents_train.jsonl", usize::MAX, at * 9..at * 9 + 9),
        _ => ("sealtools/agents_desc.jsonl", usize::MAX, 0..0),
    };
    let mut cards = evaluate::agents(&read(from(0).0)).expect("agents");
    cards.truncate(from(0).1);
    let tasks: Vec<String> = evaluate::queries(&read("clinc150/queries_train.jsonl"))
        .expect("queries")
        .into_iter()
        .map(|query| query.task)
        .collect();
    let agent = |at: usize| {
        let (a, b) = (&cards[at % cards.len()], &cards[(at * 7 + at / cards.len()) % cards.len()]);
        let examples = from(at).2.map(|at| tasks[at * 17 % tasks.len()].clone()).collect();
        let mut agent = Agent { id: format!("autogen_agent_{at:05}"), examples, ..a.clone() };
        if kind != "same" {
            agent.name = format!("{} {}", a.name, b.category);
            agent.description = format!("{} {}", a.description, at);
            agent.triggers.truncate(a.triggers.len() / 2);
            agent.triggers.extend(b.triggers.iter().take(b.triggers.len() / 2).cloned());
        }
        agent
    };
    let mut last = (0.0, Instant::now());
    let mut step = |what: &str| {
        let (now, peak) = resident();
        let seconds = last.1.elapsed().as_secs_f64();
        println!("{what:32} {now:8.1} MiB ({:+8.1}), peak {peak:8.1} MiB, {seconds:7.3} s", now - last.0);
        last = (now, Instant::now());
    };
    step("texts to mix from");
    let built = Router::build(Settings::default(), (0..count).map(agent));
    step("build");
    drop(built);
    step("dropped");
    let mut router = Router::build(Settings::default(), []);
    for start in (0..count).step_by(1_000) {
        let changes: Vec<Change> =
            (start..(start + 1_000).min(count)).map(|at| Change::Put(agent(at))).collect();
        router = router.apply(&changes);
    }
    step("put by the thousand");
    let all = router.all();
    let some: Vec<_> =
        (0..16).map(|odd| router.candidates(|id| id.as_bytes()[id.len() - 1] % 16 != odd)).collect();
    step("candidates of 16 scopes");
    for task in tasks.iter().step_by(20) {
        let _ = router.decide(task, &all);
    }
    step("decisions");
    let next = router.apply(&[Change::Put(Agent { description: "Something else".to_owned(), ..agent(5) })]);
    step("one of them replaced");
    let everyone: Vec<Change> =
        (0..count).map(|at| Change::Put(Agent { category: "again".to_owned(), ..agent(at) })).collect();
    let again = router.apply(&everyone);
    drop(everyone);
    step("all replaced, the old ones kept");
    drop((some, next, router, again));
    step("all but one dropped");
    all.warm();
    step("warm");
    assert_eq!(all.len(), count);
}

/// What is resident and what was at most, in MiB.
fn resident() -> (f64, f64) {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let field = |name: &str| -> f64 {
        let line = status.lines().find(|line| line.starts_with(name)).expect("a known field");
        line.split_whitespace().nth(1).expect("a number").parse::<f64>().expect("a number") / 1024.0
    };
    (field("VmRSS:"), field("VmHWM:"))
}
