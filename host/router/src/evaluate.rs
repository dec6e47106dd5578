//! How well a fleet is routed, measured on tasks whose right answer is known.
//!
//! Pure: lines in, figures out. Time is read through a function that the caller hands in.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::{Agent, Router, Settings, Verdict};

/// A task with its right answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Query {
    /// What was asked.
    pub task: String,
    /// The id of the right agent; none when no agent fits.
    #[serde(default)]
    pub expected: Option<String>,
    /// Every right answer, where there are several.
    #[serde(default)]
    pub accept: Vec<String>,
    /// The agents to decide among; all when absent.
    #[serde(default)]
    pub candidates: Option<Vec<String>>,
}

impl Query {
    /// Whether `agent` is a right answer.
    pub fn accepts(&self, agent: &str) -> bool {
        self.expected.as_deref() == Some(agent) || self.accept.iter().any(|id| id == agent)
    }
}

/// The figures. Shares are 0..=1.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Share of the tasks with an answer whose right agent was ranked first.
    pub top1: f64,
    /// The same among the first three.
    pub top3: f64,
    /// Area under the ROC curve of telling tasks with an answer from those without, by confidence;
    /// none when the queries lack either sort.
    pub auroc: Option<f64>,
    /// Share of the tasks with an answer that were given the right agent at the threshold.
    pub in_scope_accuracy: f64,
    /// Share of the tasks without an answer that were rejected at the threshold; none when there are none.
    pub oos_recall: Option<f64>,
    /// Expected calibration error over ten bins of equal width (Naeini et al., 2015).
    pub calibration_error: f64,
    /// Time to build the router and learn from all examples, in milliseconds.
    pub build_ms: f64,
    /// Median time of a decision, in microseconds.
    pub p50_us: f64,
    /// The 99th percentile of the same.
    pub p99_us: f64,
    /// How many queries were decided.
    pub queries: usize,
    /// How many agents there were.
    pub agents: usize,
}

/// Tasks of one agent that went to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confusion {
    /// The right agent; none when there was none.
    pub expected: Option<String>,
    /// The agent that was ranked first instead; none when rejected.
    pub got: Option<String>,
    /// How often.
    pub count: usize,
    /// One such task.
    pub example: String,
}

/// Figures and confusions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The figures.
    #[serde(flatten)]
    pub metrics: Metrics,
    /// The commonest mistakes, worst first.
    pub confusions: Vec<Confusion>,
}

/// A line that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineError {
    /// Which line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub message: String,
}

impl std::fmt::Display for LineError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

impl std::error::Error for LineError {}

/// Queries from JSON lines; empty lines are skipped.
///
/// # Errors
/// The first line that is not a query.
pub fn queries(jsonl: &str) -> Result<Vec<Query>, LineError> {
    lines(jsonl)
}

/// Agents from JSON lines; empty lines are skipped.
///
/// # Errors
/// The first line that is not an agent.
pub fn agents(jsonl: &str) -> Result<Vec<Agent>, LineError> {
    lines(jsonl)
}

fn lines<T: for<'a> Deserialize<'a>>(jsonl: &str) -> Result<Vec<T>, LineError> {
    jsonl
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(at, line)| {
            serde_json::from_str(line).map_err(|error| LineError { line: at + 1, message: error.to_string() })
        })
        .collect()
}

/// Gives every agent up to `per_agent` of the tasks it is expected for as examples, taken at even distances
/// from those there are, so that a file sorted by topic or by writer is not sampled at its beginning only.
pub fn teach(agents: &mut [Agent], train: &[Query], per_agent: usize) {
    let mut tasks: HashMap<&str, Vec<&str>> = HashMap::new();
    for query in train {
        if let Some(expected) = query.expected.as_deref() {
            tasks.entry(expected).or_default().push(&query.task);
        }
    }
    for agent in agents {
        let Some(tasks) = tasks.get(agent.id.as_str()) else { continue };
        let take = per_agent.min(tasks.len());
        let spread = (0..take).map(|at| tasks[at * tasks.len() / take].to_owned());
        agent.examples.extend(spread);
    }
}

/// The right agent and the one that was ranked first.
type Pair<'a> = (Option<&'a str>, Option<&'a str>);

/// Builds a router and decides every query. `now` reads a clock that only moves forward, in seconds.
pub fn run(
    settings: Settings,
    agents: Vec<Agent>,
    queries: &[Query],
    mut now: impl FnMut() -> f64,
) -> Report {
    let count = agents.len();
    let start = now();
    let router = Router::build(settings, agents);
    let all = router.all();
    all.warm();
    let build_ms = (now() - start) * 1e3;
    let mut times = Vec::with_capacity(queries.len());
    let mut outcomes = Vec::with_capacity(queries.len());
    for query in queries {
        let some =
            query.candidates.as_ref().map(|ids| router.candidates_named(ids.iter().map(String::as_str)));
        let start = now();
        let decision = router.decide(&query.task, some.as_ref().unwrap_or(&all));
        times.push((now() - start) * 1e6);
        outcomes.push((query, decision));
    }
    times.sort_by(f64::total_cmp);
    let mut metrics = Metrics { build_ms, queries: queries.len(), agents: count, ..Metrics::default() };
    metrics.p50_us = quantile(&times, 0.5);
    metrics.p99_us = quantile(&times, 0.99);
    let (mut inside, mut outside) = (Vec::new(), Vec::new());
    let mut bins = [(0usize, 0.0f64, 0usize); 10];
    let mut wrong: BTreeMap<Pair<'_>, (usize, &str)> = BTreeMap::new();
    let (mut top1, mut top3, mut kept, mut rejected) = (0usize, 0usize, 0usize, 0usize);
    for (query, decision) in &outcomes {
        let ranked = &decision.ranked;
        let best = ranked.first();
        let confidence = best.map_or(0.0, |c| c.confidence);
        let right = best.is_some_and(|c| query.accepts(&c.agent));
        let accepted = decision.verdict != Verdict::NoMatch;
        if query.expected.is_some() {
            inside.push(confidence);
            top1 += usize::from(right);
            top3 += usize::from(ranked.iter().take(3).any(|c| query.accepts(&c.agent)));
            kept += usize::from(right && accepted);
        } else {
            outside.push(confidence);
            rejected += usize::from(!accepted);
        }
        let bin = &mut bins[((confidence * 10.0) as usize).min(9)];
        *bin = (bin.0 + 1, bin.1 + confidence, bin.2 + usize::from(right));
        if (query.expected.is_some() && !right) || (query.expected.is_none() && accepted) {
            let pair = (query.expected.as_deref(), best.map(|c| c.agent.as_str()));
            wrong.entry(pair).or_insert((0, &query.task)).0 += 1;
        }
    }
    let share = |part: usize, of: usize| if of == 0 { 0.0 } else { part as f64 / of as f64 };
    metrics.top1 = share(top1, inside.len());
    metrics.top3 = share(top3, inside.len());
    metrics.in_scope_accuracy = share(kept, inside.len());
    metrics.oos_recall = (!outside.is_empty()).then(|| share(rejected, outside.len()));
    metrics.calibration_error = bins.iter().map(|(_, sum, right)| (sum - *right as f64).abs()).sum::<f64>()
        / outcomes.len().max(1) as f64;
    metrics.auroc = auroc(&inside, &outside);
    let mut confusions: Vec<Confusion> = wrong
        .into_iter()
        .map(|((expected, got), (count, example))| Confusion {
            expected: expected.map(str::to_owned),
            got: got.map(str::to_owned),
            count,
            example: example.to_owned(),
        })
        .collect();
    confusions.sort_by_key(|confusion| std::cmp::Reverse(confusion.count));
    confusions.truncate(20);
    Report { metrics, confusions }
}

fn quantile(sorted: &[f64], at: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * at).round() as usize).copied().unwrap_or(0.0)
}

/// The chance that a task with an answer has more confidence than one without (Mann-Whitney U).
fn auroc(inside: &[f64], outside: &[f64]) -> Option<f64> {
    if inside.is_empty() || outside.is_empty() {
        return None;
    }
    let mut sorted = outside.to_vec();
    sorted.sort_by(f64::total_cmp);
    let wins: f64 = inside
        .iter()
        .map(|value| {
            let below = sorted.partition_point(|other| other < value);
            let equal = sorted.partition_point(|other| other <= value) - below;
            below as f64 + equal as f64 / 2.0
        })
        .sum();
    Some(wins / (inside.len() as f64 * outside.len() as f64))
}
