//! Answers questions about the machine that Stockade runs on: processors, memory, disks, load,
//! network, uptime and the largest processes.
//!
//! Owns no state. What was asked is decided in [`question`], how figures read in [`section`]; only
//! this file asks the host for any.

mod question;
mod section;
mod units;

use stockade_sdk::{Agent, Description, Failure, Reply, Task, Value, config, json, system};

use question::{Question, Topic};
use section::{Section, Thresholds};

struct VpsMonitor;

impl Agent for VpsMonitor {
    fn describe() -> Description {
        Description::new(
            "VPS Monitor Agent",
            "Monitors the server that this host runs on: CPU usage, memory and swap, disk space, load average, \
             network traffic, uptime, and the processes that use the most CPU or memory.",
        )
        .version(env!("CARGO_PKG_VERSION"))
        .category("infrastructure")
        .triggers([
            "server", "vps", "cpu", "processor", "memory", "ram", "swap", "disk", "disk space", "storage",
            "load average", "server load", "network traffic", "bandwidth", "uptime", "reboot", "process",
            "processes", "server health", "system status", "monitoring", "resource usage", "hostname", "kernel",
        ])
        .examples([
            "Check CPU usage on the server",
            "Show me server health metrics",
            "Check server health",
            "How much memory is free?",
            "How much RAM is the machine using right now?",
            "Is the disk getting full?",
            "How much disk space is left on /data?",
            "What is the load average?",
            "How busy is the VPS?",
            "Top 5 processes by memory",
            "Which process is using the most CPU?",
            "How much network traffic has the server seen?",
            "How long has the server been up?",
            "When was the last reboot?",
            "Is swap being used?",
            "Which kernel and operating system does this host run?",
            "CPU and memory usage please",
        ])
        .cost_per_query("$0.000")
        .default_query("server health")
    }

    fn handle(task: Task) -> Result<Reply, Failure> {
        let question = Question::read(&task.query).ok_or_else(|| {
            Failure::invalid_input(
                "This agent answers questions about the server, such as \"CPU usage\", \"How much memory is free?\", \
                 \"Is the disk full?\", \"load average\", \"network traffic\", \"uptime\", \"top 5 processes by memory\" \
                 or \"server health\".",
            )
        })?;
        let thresholds = Thresholds { warn_percent: config::parse("warn_percent")?.unwrap_or(90.0) };
        answer(&question, &thresholds)
    }
}

/// Asks the host for every topic of a question and puts the sections together. A figure that the
/// machine does not give is said to be missing, unless nothing at all is left.
fn answer(question: &Question, thresholds: &Thresholds) -> Result<Reply, Failure> {
    let mut sections = Vec::new();
    let mut missing = Vec::new();
    for topic in &question.topics {
        match gather(*topic, question, thresholds) {
            Ok(section) => sections.push(section),
            Err(system::Error::Denied(why)) => {
                return Err(Failure::denied(format!("This agent may not read the server's figures: {why}")));
            }
            Err(system::Error::Unavailable(why)) => {
                missing.push(format!("{}: not available ({why}).", topic.title()))
            }
        }
    }
    if sections.is_empty() {
        return Err(Failure::unavailable(missing.join(" ")));
    }
    Ok(compose(question, sections, missing))
}

fn gather(topic: Topic, question: &Question, thresholds: &Thresholds) -> Result<Section, system::Error> {
    Ok(match topic {
        Topic::Cpu => section::cpu(&system::get_cpu()?, thresholds),
        Topic::Memory => section::memory(&system::get_memory()?, thresholds),
        Topic::Disk => section::disks(system::list_disks()?, &question.paths, thresholds),
        Topic::Load => section::load(&system::get_load()?),
        Topic::Network => section::network(&system::list_networks()?),
        Topic::Uptime => section::uptime(&system::get_machine()?),
        Topic::Machine => section::machine(&system::get_machine()?),
        Topic::Processes => {
            section::processes(system::list_processes(question.order, question.limit)?, question.order)
        }
    })
}

/// The text and the data of an answer. An overall question is answered with a verdict first.
fn compose(question: &Question, sections: Vec<Section>, missing: Vec<String>) -> Reply {
    let mut lines = Vec::new();
    let mut warnings = Vec::new();
    let mut data = serde_json::Map::new();
    for section in sections {
        lines.extend(section.lines);
        warnings.extend(section.warnings);
        data.insert(section.key.to_owned(), section.data);
    }
    lines.extend(missing);
    if question.overall {
        let verdict =
            if warnings.is_empty() { "The server is healthy." } else { "The server needs attention." };
        lines.insert(0, verdict.to_owned());
    }
    lines.extend(warnings.iter().map(|warning| format!("Warning: {warning}.")));
    data.insert("status".to_owned(), json!(if warnings.is_empty() { "ok" } else { "warning" }));
    data.insert("warnings".to_owned(), json!(warnings));
    Reply::text(lines.join("\n")).with_data(Value::Object(data))
}

stockade_sdk::agent!(VpsMonitor);

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(available: u64) -> Section {
        let memory =
            system::Memory { total: 100, used: 100 - available, available, swap_total: 0, swap_used: 0 };
        section::memory(&memory, &Thresholds { warn_percent: 90.0 })
    }

    fn question(query: &str) -> Question {
        Question::read(query).unwrap_or_else(|| panic!("{query} was not understood"))
    }

    #[test]
    fn an_overall_answer_begins_with_a_verdict_and_ends_with_the_warnings() {
        let calm = compose(&question("server health"), vec![memory(50)], Vec::new());
        assert!(calm.response.starts_with("The server is healthy.\nMemory: "), "{}", calm.response);
        let full = compose(&question("server health"), vec![memory(5)], Vec::new());
        assert!(full.response.starts_with("The server needs attention.\n"), "{}", full.response);
        assert!(full.response.ends_with("Warning: memory is 95.0% in use."), "{}", full.response);
    }

    #[test]
    fn only_what_was_asked_for_is_in_the_data() {
        let reply =
            compose(&question("free memory"), vec![memory(50)], vec!["Load: not available (x).".to_owned()]);
        let data: Value = serde_json::from_str(reply.data.as_deref().unwrap_or_default()).unwrap_or_default();
        let keys: Vec<&String> = data.as_object().map(|object| object.keys().collect()).unwrap_or_default();
        assert_eq!(keys, ["memory", "status", "warnings"]);
        assert_eq!(data["memory"]["used_percent"], 50.0);
        assert!(reply.response.ends_with("Load: not available (x)."));
    }

    #[test]
    fn every_example_is_understood_and_the_description_is_within_its_limits() {
        let description = VpsMonitor::describe();
        assert!(description.triggers.len() <= 64);
        for example in &description.examples {
            assert!(Question::read(&example.task).is_some(), "{}", example.task);
        }
        assert!(description.default_query.is_some_and(|query| Question::read(&query).is_some()));
    }
}
