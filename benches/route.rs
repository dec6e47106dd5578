//! What one decision of the router costs, at 200 and at 10,000 agents, and what a change does.

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use stockade_router::{Agent, Change, Router, Settings};

/// Words that the made-up agents and tasks share, so that tasks match some agents and not others.
const WORDS: &[&str] = &[
    "server",
    "cpu",
    "memory",
    "disk",
    "network",
    "invoice",
    "payment",
    "refund",
    "customer",
    "order",
    "shipping",
    "parcel",
    "weather",
    "forecast",
    "rain",
    "flight",
    "hotel",
    "booking",
    "ticket",
    "train",
    "recipe",
    "kitchen",
    "garden",
    "plant",
    "music",
    "playlist",
    "song",
    "movie",
    "actor",
    "review",
    "database",
    "query",
    "table",
    "backup",
    "restore",
    "deploy",
    "release",
    "branch",
    "commit",
    "merge",
    "translate",
    "grammar",
    "summary",
    "email",
    "calendar",
    "meeting",
    "reminder",
    "contact",
    "phone",
    "photo",
];

fn word(seed: usize) -> &'static str {
    WORDS[seed.wrapping_mul(2_654_435_761) % WORDS.len()]
}

fn fleet(count: usize) -> Vec<Agent> {
    let agent = |i: usize| Agent {
        id: format!("agent-{i:05}"),
        name: format!("{} {} agent {i}", word(i), word(i + 7)),
        description: format!("Answers questions about {} and {} for team {i}", word(i + 1), word(i + 13)),
        triggers: vec![word(i).to_owned(), format!("{} {}", word(i + 2), word(i + 3)), format!("team{i}")],
        category: word(i / 50).to_owned(),
        examples: Vec::new(),
    };
    (0..count).map(agent).collect()
}

const TASKS: &[&str] = &[
    "Check CPU usage on the server",
    "when does my parcel arrive and can I get a refund for the shipping",
    "book a hotel and a train ticket for the meeting in team42",
    "How do I braise leeks",
];

fn routing(criterion: &mut Criterion) {
    for count in [200, 10_000] {
        let agents = fleet(count);
        let router = Router::build(Settings::default(), agents.clone());
        let all = router.all();
        let mut turn = 0;
        criterion.bench_function(&format!("route: decide among {count}"), |bencher| {
            bencher.iter(|| {
                turn += 1;
                router.decide(TASKS[turn % TASKS.len()], &all)
            });
        });
        let change = [Change::Put(Agent { description: "Something new".to_owned(), ..agents[7].clone() })];
        criterion.bench_function(&format!("route: replace one of {count}"), |bencher| {
            bencher.iter(|| router.apply(&change));
        });
        let mut group = criterion.benchmark_group("route");
        group.sample_size(10);
        group.bench_function(format!("build {count}"), |bencher| {
            let fresh = || agents.clone();
            bencher.iter_batched(
                fresh,
                |agents| Router::build(Settings::default(), agents),
                BatchSize::PerIteration,
            );
        });
        group.finish();
    }
}

criterion_group!(benches, routing);
criterion_main!(benches);
