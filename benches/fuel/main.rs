//! Wall time for each unit of fuel, of every import and of the dearest instructions: one row a case.
//!
//! `cargo bench -p stockade-benches --bench fuel [-- WORD] [--processor-time]`; with a word, only the rows that have it
//! in their name. On a machine that does much else, take this process's processor time instead of the clock's.
//! Nothing may cost more than ten times what the dearest instruction does.

// A benchmark that cannot be set up has nothing to measure: it may say so and stop. It prints; that is what it is for.
#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod cases;
mod contracts;
mod probe;

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use cases::Kind;
use contracts::{Contracts, root};
use stockade::app::{Host, Purpose};
use stockade::config::{self, NoEnvironment};
use stockade::domain::{Principal, RequestId, TaskText};
use stockade::scheduler::Submission;
use tokio::runtime::Runtime;

/// Long enough to be measured, in nanoseconds.
const LONG: f64 = 30e6;

const SETTINGS: &str = "engine = { guest_threads = 1 }
[defaults.limits]
fuel = 1_000_000_000_000_000
timeout = \"1h\"
memory = \"128 MiB\"
host_calls = 1_000_000_000
host_bytes = \"1024 GiB\"
handles = 1_000_000
";

/// What a row shows.
struct Row {
    name: String,
    kind: Kind,
    fuel: f64,
    nanoseconds: f64,
    /// Why there are no more rounds than were measured.
    ended: Option<String>,
}

impl Row {
    fn ratio(&self) -> f64 {
        self.nanoseconds / self.fuel
    }
}

fn main() {
    // `cargo bench` says so; `cargo test --benches` only wants to know that this starts.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let busy = std::env::args().any(|argument| argument == "--processor-time");
    let word = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let folder = std::env::temp_dir().join("stockade-bench-fuel");
    fs::create_dir_all(&folder).expect("a folder");
    let contracts = Contracts::read();
    let (mut cases, wrong) = cases::all(&contracts);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    cases.retain(|case| word.as_ref().is_none_or(|word| case.name.contains(word.as_str())));
    let imports = contracts.imports();
    let mut settings = SETTINGS.to_owned();
    let mut agents = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let text = probe::module(&contracts, &imports, case);
        let component =
            contracts.component(&text).unwrap_or_else(|error| panic!("{}: {error}\n{text}", case.name));
        agents.push((format!("probe-{number}"), case.name.clone(), case.kind, case.most, String::new()));
        add(&mut settings, &folder, &format!("probe-{number}"), &component, case.kind != Kind::Refused);
    }
    add(&mut settings, &folder, "transcode", &transcode(), true);
    for (letter, how) in [
        ('a', "UTF-8 to UTF-8"),
        ('b', "UTF-8 to UTF-16"),
        ('c', "UTF-8 to either"),
        ('d', "UTF-16 to UTF-8"),
        ('e', "UTF-16 to either"),
        ('f', "either to UTF-8"),
    ] {
        for (units, size) in [(16, "16"), (65_536, "65,536"), (8 << 20, "8 Mi")] {
            let name = format!("a string between components, {how}, {size} units");
            if word.as_ref().is_none_or(|word| name.contains(word.as_str())) {
                agents.push((
                    "transcode".to_owned(),
                    format!("{name}\t{letter}"),
                    Kind::Import,
                    u32::MAX,
                    format!(" {units}"),
                ));
            }
        }
    }
    let runtime = Runtime::new().expect("a runtime");
    let mut config = config::parse(&settings, "agents.toml", &folder, &NoEnvironment).expect("settings");
    config.server.data_dir = folder.join("data");
    let host = runtime.block_on(async {
        let host = Host::new(config, Purpose::Ask).expect("a host");
        host.load_all().await;
        host
    });
    let rows: Vec<Row> = agents
        .iter()
        .map(|(id, name, kind, most, after)| {
            let (name, before) = name.split_once('\t').unwrap_or((name, ""));
            eprintln!("{name}");
            let run = |rounds: u32| {
                let query = format!("{before}{rounds}{after}");
                let began = processor_time();
                let (wall, fuel) = call(&runtime, &host, id, &query)?;
                Ok((if busy { processor_time() - began } else { wall }, fuel))
            };
            measure(name, *kind, *most, run)
        })
        .collect();
    print(&rows);
}

/// One call: nanoseconds in the sandbox, and fuel.
fn call(runtime: &Runtime, host: &Host, agent: &str, query: &str) -> Result<(f64, f64), String> {
    let submission = Submission {
        caller: Arc::new(Principal::operator("bench")).into(),
        agent: agent.to_owned(),
        query: Some(TaskText::parse(query).expect("a task")),
        context: None,
        alone: true,
        request_id: RequestId::from_random(1),
        timeout: None,
    };
    let ended = runtime.block_on(async { host.scheduler.submit(submission).await });
    match ended.result {
        Ok(_) => Ok((ended.receipt.wall.get() as f64 * 1e3, ended.receipt.fuel as f64)),
        Err(failure) => Err(failure.internal()),
    }
}

/// What all threads of this process have computed, in nanoseconds.
fn processor_time() -> f64 {
    let threads = fs::read_dir("/proc/self/task").expect("Linux's list of threads");
    let computed = threads.flatten().map(|thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
        text.split_whitespace().next().and_then(|number| number.parse::<f64>().ok()).unwrap_or(0.0)
    });
    computed.sum()
}

/// Finds how many rounds take long enough, and takes the best of three.
fn measure(name: &str, kind: Kind, most: u32, run: impl Fn(u32) -> Result<(f64, f64), String>) -> Row {
    let mut row = Row { name: name.to_owned(), kind, fuel: f64::NAN, nanoseconds: f64::NAN, ended: None };
    let one = match run(1) {
        Ok(one) => one,
        Err(ended) => return Row { ended: Some(ended), ..row },
    };
    // The best of three: what else the machine does must not decide how many rounds there are.
    let best = |rounds: u32| -> Result<(f64, f64), String> {
        let mut best = run(rounds)?;
        for _ in 1..3 {
            let again = run(rounds)?;
            best = if again.0 < best.0 { again } else { best };
        }
        Ok(best)
    };
    let (mut rounds, mut many) = (1, one);
    while rounds < most && many.0 < LONG {
        let factor = (1.3 * LONG / many.0.max(1.0)).clamp(2.0, 50.0);
        let more = ((f64::from(rounds) * factor).ceil() as u32).min(most);
        match best(more) {
            Ok(ended) => (rounds, many) = (more, ended),
            Err(ended) => {
                row.ended = Some(ended);
                break;
            }
        }
    }
    if rounds < 2 {
        (row.nanoseconds, row.fuel) = many;
        return row;
    }
    if let Ok(few) = best(1) {
        let more = f64::from(rounds - 1);
        (row.nanoseconds, row.fuel) = ((many.0 - few.0).max(0.0) / more, (many.1 - few.1) / more);
    }
    row
}

fn print(rows: &[Row]) {
    let measures = rows.iter().filter(|row| row.kind == Kind::Instruction && row.fuel > 0.0);
    let dearest = measures.max_by(|one, other| one.ratio().total_cmp(&other.ratio()));
    let unit = dearest.map_or(f64::NAN, Row::ratio);
    let mut table = String::from(
        "| what | fuel each | ns each | ns for a unit | of the dearest instruction |\n|---|---|---|---|---|\n",
    );
    for row in rows {
        let note = row
            .ended
            .as_ref()
            .map(|ended| format!(" ({})", ended.lines().next().unwrap_or_default()))
            .unwrap_or_default();
        if row.fuel.is_nan() {
            _ = writeln!(table, "| {}{note} | | | | |", row.name);
            continue;
        }
        let ratio = row.ratio();
        _ = writeln!(
            table,
            "| {}{note} | {:.0} | {:.0} | {ratio:.2} | {:.1} |",
            row.name,
            row.fuel,
            row.nanoseconds,
            ratio / unit
        );
    }
    println!("{table}");
    if let Some(dearest) = dearest {
        println!("The dearest instruction: {}, {unit:.2} ns for a unit.", dearest.name);
    }
    let over: Vec<&Row> = rows
        .iter()
        .filter(|row| matches!(row.kind, Kind::Import | Kind::Refused) && row.ratio() > 10.0 * unit)
        .collect();
    println!("{} imports cost more than ten times that.", over.len());
    for row in over {
        println!("  {:>8.1} x  {}", row.ratio() / unit, row.name);
    }
}

fn add(settings: &mut String, folder: &Path, id: &str, component: &[u8], granted: bool) {
    let file = folder.join(format!("{id}.wasm"));
    fs::write(&file, component).expect("a component's file");
    _ = writeln!(settings, "[agents.{id}]\ncomponent = {file:?}\ngrants = {{ system = {granted} }}");
}

/// The guest that passes strings between two components of its own.
fn transcode() -> Vec<u8> {
    let read =
        |name: &str| fs::read_to_string(root().join("tests/guests/text").join(name)).expect("a guest's text");
    let text = read("frame.wat")
        .replace(";; CORE", &read("cores/transcode.wat"))
        .replace(";; IMPORTS", &read("stranger.wat"))
        .replace("(instantiate $agent)", "(instantiate $agent (with \"stranger\" (instance $stranger)))");
    wat::parse_str(text).expect("a component")
}
