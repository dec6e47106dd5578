//! Measures the router on real tasks, for those who tune it: one line for each row of the table in the
//! crate's README.
//!
//! `cargo run --release -p stockade-router --example measure -- FOLDER [ROW...]`, where FOLDER holds one folder a
//! set with `agents_desc.jsonl`, `agents_train.jsonl`, `queries_train.jsonl` and `queries_dev.jsonl`.

#![allow(clippy::print_stdout, clippy::expect_used, clippy::unwrap_used)]

use std::path::Path;
use std::time::Instant;

use stockade_router::{Agent, Change, Router, Settings, evaluate};

/// Name, set, agents, queries, examples an agent, one typo a query.
type Row = (&'static str, &'static str, &'static str, &'static str, usize, bool);

const ALL: usize = usize::MAX;
const ROWS: &[Row] = &[
    ("metatool-D", "metatool", "agents_desc", "queries_dev", 0, false),
    ("metatool-T", "metatool", "agents_train", "queries_dev", 0, false),
    ("metatool-D10", "metatool", "agents_desc", "queries_dev", 10, false),
    ("metatool-T10", "metatool", "agents_train", "queries_dev", 10, false),
    ("metatool-Dall", "metatool", "agents_desc", "queries_dev", ALL, false),
    ("metatool-Tall", "metatool", "agents_train", "queries_dev", ALL, false),
    ("metatool-Dout", "metatool", "agents_desc_holdout159", "queries_dev_holdout", 0, false),
    ("metatool-Tout", "metatool", "agents_train_holdout159", "queries_dev_holdout", 0, false),
    ("metatool-Dallout", "metatool", "agents_desc_holdout159", "queries_dev_holdout", ALL, false),
    ("clinc-D", "clinc150", "agents_desc", "queries_dev", 0, false),
    ("clinc-T", "clinc150", "agents_train", "queries_dev", 0, false),
    ("clinc-Ttypo", "clinc150", "agents_train", "queries_dev", 0, true),
    ("clinc-D10", "clinc150", "agents_desc", "queries_dev", 10, false),
    ("clinc-T10", "clinc150", "agents_train", "queries_dev", 10, false),
    ("clinc-Dall", "clinc150", "agents_desc", "queries_dev", ALL, false),
    ("clinc-Tall", "clinc150", "agents_train", "queries_dev", ALL, false),
    ("clinc-Dalltypo", "clinc150", "agents_desc", "queries_dev", ALL, true),
    ("clinc-mix", "clinc150", "agents_train", "queries_dev", 10, false),
    ("metatool-mix", "metatool", "agents_train", "queries_dev", 10, false),
    ("metatool-Tallout", "metatool", "agents_train_holdout159", "queries_dev_holdout", ALL, false),
    ("seal-D", "sealtools", "agents_desc", "queries_dev", 0, false),
];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let root = Path::new(args.first().expect("the folder of the sets"));
    let read = |set: &str, file: &str| {
        std::fs::read_to_string(root.join(set).join(format!("{file}.jsonl"))).expect("a readable file")
    };
    let start = Instant::now();
    let now = || start.elapsed().as_secs_f64();
    println!("row               top1   top3  auroc   in-acc oos-rec    ece  build_ms   p50_us   p99_us");
    for (name, set, agents, queries, examples, typo) in ROWS {
        if args.len() > 1 && !args[1..].iter().any(|row| name == row) {
            continue;
        }
        let mut agents = evaluate::agents(&read(set, agents)).expect("agents");
        let mut queries = evaluate::queries(&read(set, queries)).expect("queries");
        if *typo {
            queries.iter_mut().for_each(|query| query.task = misspell(&query.task));
        }
        if *examples > 0 {
            let train = evaluate::queries(&read(set, "queries_train")).expect("queries");
            evaluate::teach(&mut agents, &train, *examples);
        }
        if *name == "clinc-mix" || *name == "metatool-mix" {
            agents
                .iter_mut()
                .enumerate()
                .filter(|(at, _)| at % 2 == 0)
                .for_each(|(_, agent)| agent.examples.clear());
        }
        let report = evaluate::run(Settings::default(), agents, &queries, now);
        let m = report.metrics;
        let percent =
            |share: Option<f64>| share.map_or("     -".to_owned(), |share| format!("{:6.2}", share * 100.0));
        println!(
            "{name:16} {} {} {}   {}  {} {:6.3} {:9.1} {:8.1} {:8.1}",
            percent(Some(m.top1)),
            percent(Some(m.top3)),
            percent(m.auroc),
            percent(Some(m.in_scope_accuracy)),
            percent(m.oos_recall),
            m.calibration_error,
            m.build_ms,
            m.p50_us,
            m.p99_us
        );
        if std::env::var("CONFUSIONS").is_ok() {
            report.confusions.iter().for_each(|confusion| println!("   {confusion:?}"));
        }
    }
    if args.len() == 1 || args[1..].iter().any(|row| row == "large") {
        large(
            &evaluate::agents(&read("sealtools", "agents_desc")).expect("agents"),
            &read("sealtools", "queries_dev"),
            now,
        );
    }
}

/// Ten thousand agents, made by mixing the words of real ones.
fn large(agents: &[Agent], queries: &str, now: impl Fn() -> f64) {
    let fleet: Vec<Agent> = (0..10_000)
        .map(|at| {
            let (a, b) = (&agents[at % agents.len()], &agents[(at * 7 + at / agents.len()) % agents.len()]);
            if at < agents.len() {
                return a.clone();
            }
            Agent {
                id: format!("{}-{at}", a.id),
                name: format!("{} {}", a.name, b.category),
                description: b.description.clone(),
                triggers: a.triggers.iter().take(3).chain(b.triggers.iter().take(3)).cloned().collect(),
                ..Agent::default()
            }
        })
        .collect();
    let changed = Agent { description: "Something else entirely".to_owned(), ..fleet[5_000].clone() };
    let queries = evaluate::queries(queries).expect("queries");
    let report = evaluate::run(Settings::default(), fleet.clone(), &queries, &now);
    let router = Router::build(Settings::default(), fleet);
    let mut times: Vec<f64> = (0..50)
        .map(|_| {
            let start = now();
            let next = router.apply(&[Change::Put(changed.clone())]);
            let elapsed = now() - start;
            assert_eq!(next.len(), router.len());
            elapsed * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let m = report.metrics;
    println!(
        "10,000 agents: build {:.0} ms, replace one {:.2} ms (p50; worst {:.2}), decide p50 {:.1} us, p99 {:.1} us",
        m.build_ms, times[25], times[49], m.p50_us, m.p99_us
    );
}

/// Swaps two inner letters of the longest word that has five letters or more.
fn misspell(task: &str) -> String {
    let longest = task
        .split(' ')
        .filter(|w| w.len() >= 5 && w.chars().all(|c| c.is_ascii_lowercase()))
        .max_by_key(|w| w.len());
    let Some(word) = longest else { return task.to_owned() };
    let mut bytes = word.as_bytes().to_vec();
    let middle = bytes.len() / 2;
    bytes.swap(middle - 1, middle);
    task.replacen(word, &String::from_utf8(bytes).expect("ascii"), 1)
}
