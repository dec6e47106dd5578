//! What came of the cases: rows, and how they read for people and for programs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::subject::Subject;
use crate::capabilities::{Line, Source};
use crate::config::Limits;
use crate::domain::text;

/// The most lines of an agent's log that are shown of one case.
const LOG_LINES: usize = 20;
/// The widest that a case's name is shown to people.
const NAME_CHARS: usize = 64;

/// Whose case it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Suite {
    /// The contract's.
    Conformance,
    /// The author's.
    Cases,
}

impl Suite {
    /// As it stands in results.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Conformance => "conformance",
            Self::Cases => "cases",
        }
    }
}

/// What a run used; of several runs, the most of each.
#[derive(Debug, Clone, Default)]
pub(super) struct Usage {
    pub(super) wall: Duration,
    /// Not known of loading and describing.
    pub(super) fuel: Option<u64>,
    pub(super) peak_memory: u64,
    pub(super) output: u64,
    pub(super) host_calls: u64,
    pub(super) host_bytes: u64,
    /// What it might have used.
    pub(super) limits: Option<Limits>,
}

impl Usage {
    /// The most of each.
    pub(super) fn larger(a: Option<Self>, b: Option<Self>) -> Option<Self> {
        match (a, b) {
            (Some(a), Some(b)) => Some(Self {
                wall: a.wall.max(b.wall),
                fuel: a.fuel.max(b.fuel),
                peak_memory: a.peak_memory.max(b.peak_memory),
                output: a.output.max(b.output),
                host_calls: a.host_calls.max(b.host_calls),
                host_bytes: a.host_bytes.max(b.host_bytes),
                limits: a.limits.or(b.limits),
            }),
            (a, b) => a.or(b),
        }
    }
}

/// What one case found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// What is wrong, in lines; none if it passed.
    pub(super) problem: Option<String>,
    /// The task of a run that failed.
    pub(super) task: Option<String>,
    /// What is worth saying of one that passed.
    pub(super) note: Option<String>,
    pub(super) usage: Option<Usage>,
    pub(super) log: Vec<Line>,
}

/// A case and what came of it.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) suite: Suite,
    pub(super) name: String,
    /// Why there is such a case, or where it stands.
    pub(super) reason: String,
    pub(super) problem: Option<String>,
    task: Option<String>,
    note: Option<String>,
    pub(super) usage: Option<Usage>,
    log: Vec<Line>,
}

impl Row {
    pub(super) fn new(suite: Suite, name: String, reason: String, found: Found) -> Self {
        let Found { problem, task, note, usage, log } = found;
        Self { suite, name, reason, problem, task, note, usage, log }
    }

    /// What an author needs to correct it, in lines.
    pub(super) fn details(&self) -> Vec<String> {
        let mut lines: Vec<String> = self
            .problem
            .iter()
            .flat_map(|problem| problem.lines())
            .map(|one| text::line(one).into_owned())
            .collect();
        lines.push(match self.suite {
            Suite::Conformance => format!("why: {}", self.reason),
            Suite::Cases => format!("at: {}", self.reason),
        });
        lines.extend(self.task.iter().map(|task| format!("task: {}", super::conformance::shown(task))));
        lines.extend(self.log());
        lines
    }

    /// The last lines of the agent's log.
    pub(super) fn log(&self) -> Vec<String> {
        let skipped = self.log.len().saturating_sub(LOG_LINES);
        let more = (skipped > 0).then(|| format!("log: {skipped} lines before these"));
        let line = |line: &Line| match line.source {
            Source::Logged(level) => format!("log: {level} {}", text::line(&line.text)),
            Source::Stdout => format!("stdout: {}", text::line(&line.text)),
            Source::Stderr => format!("stderr: {}", text::line(&line.text)),
        };
        more.into_iter().chain(self.log[skipped..].iter().map(line)).collect()
    }

    fn json(&self) -> Value {
        let usage = self.usage.as_ref();
        json!({
            "suite": self.suite.name(),
            "name": self.name,
            "reason": self.reason,
            "ok": self.problem.is_none(),
            "problem": self.problem,
            "task": self.task,
            "note": self.note,
            "ms": usage.map(|usage| milliseconds(usage.wall)),
            "fuel": usage.and_then(|usage| usage.fuel),
            "peak_memory_bytes": usage.filter(|usage| usage.fuel.is_some()).map(|usage| usage.peak_memory),
            "log": if self.problem.is_some() { self.log() } else { Vec::new() },
        })
    }
}

/// One limit: its name, how much of it a run used, and how it is shown.
struct Limit {
    name: &'static str,
    /// What it is counted in, for programs.
    unit: &'static str,
    used: fn(&Usage) -> u64,
    allowed: fn(&Limits) -> u64,
    shown: fn(u64) -> String,
}

const LIMITS: &[Limit] = &[
    Limit {
        name: "fuel",
        unit: "units",
        used: |usage| usage.fuel.unwrap_or_default(),
        allowed: |limits| limits.fuel,
        shown: grouped,
    },
    Limit {
        name: "timeout",
        unit: "microseconds",
        used: |usage| u64::try_from(usage.wall.as_micros()).unwrap_or(u64::MAX),
        allowed: |limits| u64::try_from(limits.timeout.as_micros()).unwrap_or(u64::MAX),
        shown: |micros| match micros as f64 / 1_000.0 {
            ms if ms < 1_000.0 => format!("{ms:.1} ms"),
            ms => format!("{:.1} s", ms / 1_000.0),
        },
    },
    Limit {
        name: "memory",
        unit: "bytes",
        used: |usage| usage.peak_memory,
        allowed: |limits| limits.memory,
        shown: kibibytes,
    },
    Limit {
        name: "output",
        unit: "bytes",
        used: |usage| usage.output,
        allowed: |limits| limits.output,
        shown: kibibytes,
    },
    Limit {
        name: "host_calls",
        unit: "calls",
        used: |usage| usage.host_calls,
        allowed: |limits| limits.host_calls,
        shown: grouped,
    },
    Limit {
        name: "host_bytes",
        unit: "bytes",
        used: |usage| usage.host_bytes,
        allowed: |limits| limits.host_bytes,
        shown: kibibytes,
    },
];

/// Everything that was found.
#[derive(Debug)]
pub(super) struct Report {
    component: PathBuf,
    cases: Option<PathBuf>,
    /// Name, version and digest, once the component has described itself.
    agent: Option<(String, String, String)>,
    /// The agent's own limits.
    limits: Option<Limits>,
    pub(super) rows: Vec<Row>,
    pub(super) took: Duration,
}

impl Report {
    pub(super) fn new(component: &Path, cases: Option<&Path>) -> Self {
        let (component, cases) = (component.to_owned(), cases.map(Path::to_owned));
        Self { component, cases, agent: None, limits: None, rows: Vec::new(), took: Duration::ZERO }
    }

    /// Records which agent was tested.
    pub(super) fn describe(&mut self, subject: &Subject) {
        let description = &subject.description;
        self.limits = Some(subject.limits);
        self.agent =
            Some((description.name.clone(), description.version.clone(), subject.digest().to_string()));
    }

    /// How many cases failed.
    pub(super) fn failed(&self) -> usize {
        self.rows.iter().filter(|row| row.problem.is_some()).count()
    }

    /// The agent's name and version, or the component's file.
    pub(super) fn title(&self) -> String {
        match &self.agent {
            Some((name, version, _)) => text::line(&format!("{name} {version}")).into_owned(),
            None => self.component.display().to_string(),
        }
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        let agent = self
            .agent
            .as_ref()
            .map(|(name, version, digest)| json!({ "name": name, "version": version, "digest": digest }));
        let limits: Vec<Value> = self
            .limits()
            .map(|(limit, row, used, allowed)| {
                json!({ "limit": limit.name, "unit": limit.unit, "used": used, "allowed": allowed, "case": row.name })
            })
            .collect();
        json!({
            "component": self.component,
            "cases_file": self.cases,
            "agent": agent,
            "passed": self.rows.len() - self.failed(),
            "failed": self.failed(),
            "ms": milliseconds(self.took),
            "cases": self.rows.iter().map(Row::json).collect::<Vec<_>>(),
            "limits": limits,
        })
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut shown = format!("{} ({})\n", self.title(), text::line(&self.component.display().to_string()));
        let width = self.rows.iter().map(|row| cut(&row.name).chars().count()).max().unwrap_or(0);
        for suite in [Suite::Conformance, Suite::Cases] {
            let mut rows = self.rows.iter().filter(|row| row.suite == suite).peekable();
            if rows.peek().is_some() {
                shown.push('\n');
                match (suite, &self.cases) {
                    (Suite::Cases, Some(file)) => {
                        shown.push_str(&format!("{}\n", text::line(&file.display().to_string())))
                    }
                    _ => shown.push_str(&format!("{}\n", suite.name())),
                }
            }
            for row in rows {
                shown.push_str(&line(row, width));
                if row.problem.is_some() {
                    for detail in row.details() {
                        shown.push_str(&format!("        {detail}\n"));
                    }
                }
            }
        }
        let largest: Vec<Vec<String>> = self
            .limits()
            .map(|(limit, row, used, allowed)| {
                let share = format!("{:.1} %", 100.0 * used as f64 / allowed.max(1) as f64);
                let (most, used, allowed) = (used, (limit.shown)(used), (limit.shown)(allowed));
                let by = if most == 0 { "-".to_owned() } else { cut(&row.name) };
                vec![limit.name.to_owned(), used, allowed, share, by]
            })
            .collect();
        if !largest.is_empty() {
            let head = ["limit", "most used", "allowed", "share", "by"];
            shown.push_str(&format!("\n{}\n", super::output::table(&head, &largest)));
        }
        let (failed, seconds) = (self.failed(), self.took.as_secs_f64());
        shown.push_str(&format!(
            "\n{} passed, {failed} failed, in {seconds:.2} s\n",
            self.rows.len() - failed
        ));
        shown
    }

    /// Each limit with the case that came nearest to it, of those that have the agent's own limits.
    fn limits(&self) -> impl Iterator<Item = (&'static Limit, &Row, u64, u64)> {
        let usages = self.rows.iter().filter_map(|row| Some((row, row.usage.as_ref()?)));
        let own: Vec<(&Row, &Usage)> =
            usages.filter(|(_, usage)| usage.limits.is_some() && usage.limits == self.limits).collect();
        LIMITS.iter().filter_map(move |limit| {
            let most = own.iter().map(|(_, usage)| (limit.used)(usage)).max()?;
            let (row, _) = own.iter().find(|(_, usage)| (limit.used)(usage) == most)?;
            Some((limit, *row, most, (limit.allowed)(self.limits.as_ref()?)))
        })
    }
}

/// A case on one line: whether it passed, its name, and what it used.
fn line(row: &Row, width: usize) -> String {
    let name = cut(&row.name);
    let pad = " ".repeat(width.saturating_sub(name.chars().count()));
    let word = if row.problem.is_none() { "ok" } else { "FAILED" };
    let mut line = format!("{word:<6}  {name}");
    if let Some(usage) = &row.usage {
        line.push_str(&format!("{pad}  {:>9.1} ms", milliseconds(usage.wall)));
        if let Some(fuel) = usage.fuel {
            line.push_str(&format!("  {:>13} fuel  {:>11}", grouped(fuel), kibibytes(usage.peak_memory)));
        }
    }
    if let Some(note) = &row.note {
        let pad = if row.usage.is_none() { pad.as_str() } else { "" };
        line.push_str(&format!("{pad}  ({})", cut(note)));
    }
    line.push('\n');
    line
}

fn cut(text: &str) -> String {
    let mut cut: String =
        text.chars().take(NAME_CHARS).map(|c| if text::is_hostile(c) { ' ' } else { c }).collect();
    if text.chars().nth(NAME_CHARS).is_some() {
        cut.push('…');
    }
    cut
}

fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1_000_000.0).round() / 1_000.0
}

fn kibibytes(bytes: u64) -> String {
    format!("{} KiB", grouped(bytes.div_ceil(1024)))
}

/// Digits in groups of three.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}
