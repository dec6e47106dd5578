//! Measures the router on real tasks, for those who tune it: one line for each row of the tables in the
//! crate's README. `small` stands for the table of small fleets, `large` for ten thousand agents; with `MISTAKES` set,
//! the first prints what went wrong.
//!
//! `cargo run --release -p stockade-router --example measure -- FOLDER [ROW...]`, where FOLDER holds one folder a
//! set with `agents_desc.jsonl`, `agents_train.jsonl`, `queries_train.jsonl` and `queries_dev.jsonl`.

#![allow(clippy::print_stdout, clippy::expect_used, clippy::unwrap_used)]

use std::path::Path;
use std::time::Instant;

use stockade_router::evaluate::Query;
use stockade_router::{Agent, Change, Router, Settings, Verdict, evaluate};

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
    if args.len() == 1 || args[1..].iter().any(|row| row == "small") {
        small_fleets(read);
    }
    if args.len() == 1 || args[1..].iter().any(|row| row == "large") {
        large(
            &evaluate::agents(&read("sealtools", "agents_desc")).expect("agents"),
            &read("sealtools", "queries_dev"),
            now,
        );
    }
}

/// Sets, agents and examples an agent of the small fleets.
const SMALL: &[(&str, &str, &str, usize)] = &[
    ("metatool D", "metatool", "agents_desc", 0),
    ("metatool T", "metatool", "agents_train", 0),
    ("metatool D, 10", "metatool", "agents_desc", 10),
    ("metatool T, 10", "metatool", "agents_train", 10),
    ("clinc D", "clinc150", "agents_desc", 0),
    ("clinc T", "clinc150", "agents_train", 0),
    ("clinc D, 10", "clinc150", "agents_desc", 10),
    ("clinc T, 10", "clinc150", "agents_train", 10),
];

/// Words of tasks that may be the business of the agents that come with the host.
const THEIRS: &str = "add age alarm april august average binary birthday born calculate calculation calculator \
    calendar calendars case celsius centimeters character characters christmas clock compute conversion convert \
    converted converting count cpu cups currency date dates day days december decode digit digits disk divide divided \
    duplicate email emails encode equal equals equation euro euros exchange extract fahrenheit february feet foot \
    format formula friday function gallon gallons gram grams hash hex holiday holidays hour hours html inch inches \
    january json july june kernel kilogram kilograms kilometers km length letter letters line lines link links list \
    liter liters load lowercase many march math mathematical mathematics measure measurement memory meters metric mile \
    miles minus minute minutes monday monitor monitoring month months multiply network november number numbers october \
    old ounce ounces percent percentage plus pound pounds process processes processor ram reboot remaining remove root \
    saturday schedule second seconds sentence september server servers sort space speed spell spelled spelling square \
    storage string sum sunday swap system tablespoon tablespoons teaspoons temperature text texts thursday time timer \
    times timestamp timezone timezones tip today tomorrow translate tuesday unit units uppercase uptime url urls usage \
    vps wednesday week weekday weeks weigh when word words year years yen yesterday";

/// How fleets of few agents do, where it is easiest to take a task for theirs that is none: the four that come with
/// the host against tasks of the sets that are none of their business, and random agents of the sets against
/// tasks of the others.
fn small_fleets(read: impl Fn(&str, &str) -> String) {
    println!("small fleets              wrongly accepted   right   right and accepted   (outside, inside)");
    let crate_root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let shipped =
        std::fs::read_to_string(crate_root.join("tests/shipped.jsonl")).expect("the shipped agents");
    let shipped = evaluate::agents(&shipped).expect("agents");
    let theirs = |task: &str| {
        let mut words = task.split(|c: char| !c.is_alphanumeric()).map(str::to_lowercase);
        words.any(|word| {
            word.bytes().any(|b| b.is_ascii_digit()) || THEIRS.split_whitespace().any(|own| own == word)
        })
    };
    let outside: Vec<Query> = ["metatool", "clinc150"]
        .iter()
        .flat_map(|set| evaluate::queries(&read(set, "queries_dev")).expect("queries"))
        .filter(|query| !theirs(&query.task))
        .collect();
    let cases: Vec<Query> = shipped.iter().flat_map(|agent| cases(crate_root, &agent.id)).collect();
    for examples in ["with examples", "without"] {
        let mut fleet = shipped.clone();
        if examples == "without" {
            fleet.iter_mut().for_each(|agent| agent.examples.clear());
        }
        let mut tally = Tally::default();
        tally.count(&Router::build(Settings::default(), fleet), &outside, &cases);
        tally.print(&format!("shipped, {examples}"));
    }
    for (name, set, agents, examples) in SMALL {
        let mut all = evaluate::agents(&read(set, agents)).expect("agents");
        if *examples > 0 {
            let train = evaluate::queries(&read(set, "queries_train")).expect("queries");
            evaluate::teach(&mut all, &train, *examples);
        }
        let queries = evaluate::queries(&read(set, "queries_dev")).expect("queries");
        for size in [3, 5, 10, 20] {
            let (mut tally, mut random) = (Tally::default(), Random(size as u64));
            for _ in 0..20 {
                let fleet = random.some(&all, size);
                let (inside, outside): (Vec<Query>, Vec<Query>) = random
                    .some(&queries, queries.len())
                    .into_iter()
                    .partition(|query| fleet.iter().any(|agent| query.accepts(&agent.id)));
                let (outside, inside) = (&outside[..150], &inside[..inside.len().min(150)]);
                tally.count(&Router::build(Settings::default(), fleet), outside, inside);
            }
            tally.print(&format!("{name}: {size} agents"));
        }
    }
}

/// The tasks that an agent that comes with the host is tested on and has an answer to.
fn cases(crate_root: &Path, agent: &str) -> Vec<Query> {
    let file = crate_root.join(format!("../../plugins/{agent}/cases.toml"));
    let file: toml::Table = std::fs::read_to_string(file).expect("its cases").parse().expect("TOML");
    let cases = file["case"].as_array().expect("cases").iter();
    let answered = cases.filter(|case| case.get("fails").is_none());
    let task = |case: &toml::Value| case["task"].as_str().expect("a task").to_owned();
    answered
        .map(|case| Query { task: task(case), expected: Some(agent.to_owned()), ..Query::default() })
        .collect()
}

/// What became of tasks that are none of a fleet's business, and of those that are.
#[derive(Default)]
struct Tally {
    outside: usize,
    wrongly_accepted: usize,
    inside: usize,
    right: usize,
    kept: usize,
}

impl Tally {
    fn count(&mut self, router: &Router, outside: &[Query], inside: &[Query]) {
        let all = router.all();
        let show = std::env::var("MISTAKES").is_ok();
        for query in outside {
            let decision = router.decide(&query.task, &all);
            let accepted = decision.verdict != Verdict::NoMatch;
            self.outside += 1;
            self.wrongly_accepted += usize::from(accepted);
            if show && accepted {
                println!("   {} {:?}", query.task, decision.ranked[0]);
            }
        }
        for query in inside {
            let decision = router.decide(&query.task, &all);
            let right = decision.ranked.first().is_some_and(|best| query.accepts(&best.agent));
            let kept = right && decision.verdict != Verdict::NoMatch;
            self.inside += 1;
            self.right += usize::from(right);
            self.kept += usize::from(kept);
            if show && !kept {
                println!("   {} {:?} {:?}", query.task, query.expected, decision.ranked.first());
            }
        }
    }

    fn print(&self, name: &str) {
        let percent = |part: usize, of: usize| part as f64 / of.max(1) as f64 * 100.0;
        println!(
            "{name:26} {:15.1} {:7.1} {:20.1}   ({}, {})",
            percent(self.wrongly_accepted, self.outside),
            percent(self.right, self.inside),
            percent(self.kept, self.inside),
            self.outside,
            self.inside
        );
    }
}

/// The same numbers every time (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }

    /// So many of them, in random order.
    fn some<T: Clone>(&mut self, of: &[T], count: usize) -> Vec<T> {
        let mut places: Vec<usize> = (0..of.len()).collect();
        for at in 0..count {
            let other = at + self.below(of.len() - at);
            places.swap(at, other);
        }
        places[..count].iter().map(|place| of[*place].clone()).collect()
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
