//! An agent that misbehaves on request: the first word of the query names what it does, the rest
//! are that behaviour's arguments. `help` lists them all.
//!
//! Owns the counter that shows whether a sandbox was reused ([`report::count`]) and nothing else.
//! Every behaviour must be bounded by the host, not by itself, unless its argument says so.

mod ambient;
mod attack;
mod compute;
mod flood;
mod memory;
mod report;

use std::str::SplitWhitespace;

use stockade_sdk::{Agent, Description, Failure, Reply, Task};

/// What a behaviour is given: the task, and the words after its name.
struct Call<'a> {
    task: &'a Task,
    words: SplitWhitespace<'a>,
}

impl Call<'_> {
    /// The next word as a number, or `default` where there is none.
    fn number(&mut self, default: u64) -> Result<u64, Failure> {
        match self.words.next() {
            None => Ok(default),
            Some(word) => {
                word.parse().map_err(|_| Failure::invalid_input(format!("`{word}` is not a whole number")))
            }
        }
    }

    /// All words that are left.
    fn rest(&mut self) -> String {
        self.words.by_ref().collect::<Vec<_>>().join(" ")
    }
}

type Behaviour = fn(&mut Call<'_>) -> Result<Reply, Failure>;

/// Each behaviour: its name, its arguments, what runs.
const BEHAVIOURS: &[(&str, &str, Behaviour)] = &[
    ("echo", "TEXT", report::echo),
    ("info", "", report::info),
    ("count", "", report::count),
    ("config", "[KEY]", report::config),
    ("system", "[cpu|load|memory|machine|disks|networks|processes]", report::system),
    ("fail", "invalid-input|denied|unavailable|failed MESSAGE", report::fail),
    ("invalid-json", "", report::invalid_json),
    ("huge-output", "BYTES", report::huge_output),
    ("huge-data", "BYTES", report::huge_data),
    ("huge-error", "BYTES", report::huge_error),
    ("loop", "", compute::endless),
    ("busy", "MILLIONS", compute::busy),
    ("recurse", "", compute::recurse),
    ("trap", "", compute::trap),
    ("panic", "MESSAGE", compute::panic),
    ("exit", "CODE", compute::exit),
    ("memory-bomb", "", memory::bomb),
    ("memory-grow", "", memory::grow),
    ("memory-hold", "MIB", memory::hold),
    ("memory-fill", "MIB TIMES", memory::fill),
    ("sleep", "MILLISECONDS", ambient::sleep),
    ("wake", "MILLISECONDS", ambient::wake),
    ("environment", "", ambient::environment),
    ("files", "", ambient::files),
    ("sockets", "", ambient::sockets),
    ("stdin", "", ambient::stdin),
    ("log-flood", "MESSAGES [BYTES]", flood::log),
    ("stdout-flood", "LINES [BYTES]", flood::stdout),
    ("stderr-flood", "LINES [BYTES]", flood::stderr),
    ("random", "BYTES", flood::random),
    ("handles", "COUNT", flood::handles),
    ("host-calls", "COUNT", flood::host_calls),
    ("poll-many", "COUNT", flood::poll_many),
    ("poll-copies", "COUNT", attack::poll_copies),
    ("poll-timers", "COUNT", attack::poll_timers),
    ("timers", "", attack::timers),
    ("block", "", attack::block),
    ("resolve", "BYTES", attack::resolve),
    ("write", "BYTES", attack::write),
    ("write-lines", "LINES", attack::write_lines),
    ("write-zeroes", "BYTES", attack::write_zeroes),
    ("flush", "", attack::flush),
    ("splice", "", attack::splice),
    ("random-numbers", "", attack::random_numbers),
    ("random-bytes", "BYTES", attack::random_bytes),
    ("clocks", "", attack::clocks),
    ("start-up", "", attack::start_up),
    ("make-sockets", "", attack::make_sockets),
    ("log-messages", "BYTES", attack::log_messages),
    ("nested-data", "DEPTH", attack::nested_data),
    ("refused-then-traps", "", attack::refused_then_traps),
];

struct Hostile;

impl Agent for Hostile {
    fn describe() -> Description {
        Description::new("Hostile", "Misbehaves on request, to test the host.")
            .version(env!("CARGO_PKG_VERSION"))
            .category("test")
            .triggers(["hostile", "misbehave"])
    }

    fn handle(task: Task) -> Result<Reply, Failure> {
        let mut words = task.query.split_whitespace();
        let name = words.next().unwrap_or_default();
        match BEHAVIOURS.iter().find(|(known, ..)| *known == name) {
            Some((_, _, behaviour)) => behaviour(&mut Call { task: &task, words }),
            None if name == "help" => Ok(Reply::text(help())),
            None => Err(Failure::invalid_input(format!(
                "no behaviour is called `{name}`; there are:\n{}",
                help()
            ))),
        }
    }
}

fn help() -> String {
    BEHAVIOURS.iter().map(|(name, arguments, _)| format!("{name} {arguments}\n")).collect()
}

stockade_sdk::agent!(Hostile);
