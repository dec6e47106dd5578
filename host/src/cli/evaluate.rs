//! `stockade evaluate QUERIES.jsonl`: measures the router on tasks whose right agent is known.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use clap::Args;
use stockade_router::evaluate::{self, Report};
use stockade_router::{Agent, Settings};

use super::output::{self, Output};
use super::{Exit, Global, runtime};
use crate::app::{Host, Purpose, router_settings};
use crate::domain::text;

/// The most confusions that are shown to people.
const CONFUSIONS: usize = 10;

/// Arguments of `stockade evaluate`.
#[derive(Debug, Args)]
pub(super) struct EvaluateArgs {
    /// Labelled tasks, one JSON object a line: {"task": "...", "expected": "AGENT" or null}, and
    /// optionally "accept": [every right agent], "candidates": [the agents to decide among]
    queries: PathBuf,
    /// The fleet, one agent a line: {"id", "name", "description", "triggers", "category"}; without
    /// it, the agents of the settings file
    #[arg(long, value_name = "FILE")]
    agents: Option<PathBuf>,
    /// Labelled tasks to learn from, as examples of their agents
    #[arg(long, value_name = "FILE")]
    train: Option<PathBuf>,
    /// How many of those each agent gets at the most; all without it
    #[arg(long, value_name = "K", requires = "train")]
    examples_per_agent: Option<usize>,
}

/// Runs it.
pub(super) fn run(global: &Global, args: &EvaluateArgs) -> anyhow::Result<Exit> {
    let _logging = global.quiet_logging();
    let queries = lines(&args.queries, evaluate::queries)?;
    let train = args.train.as_deref().map(|file| lines(file, evaluate::queries)).transpose()?;
    let (settings, mut agents) = match fleet(global, args)? {
        Ok(fleet) => fleet,
        Err(exit) => return Ok(exit),
    };
    if let Some(train) = &train {
        evaluate::teach(&mut agents, train, args.examples_per_agent.unwrap_or(usize::MAX));
    }
    let began = Instant::now();
    let report = evaluate::run(settings, agents, &queries, || began.elapsed().as_secs_f64());
    match global.output() {
        Output::Json => global.output().json(&report)?,
        Output::Text => output::print(&shown(&report))?,
    }
    Ok(Exit::Done)
}

/// Reads a file of JSON lines.
fn lines<T>(
    file: &Path,
    parse: impl Fn(&str) -> Result<Vec<T>, evaluate::LineError>,
) -> anyhow::Result<Vec<T>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    parse(&text).with_context(|| file.display().to_string())
}

/// The agents, and the settings to route them with.
fn fleet(global: &Global, args: &EvaluateArgs) -> anyhow::Result<Result<(Settings, Vec<Agent>), Exit>> {
    if let Some(file) = &args.agents {
        let agents = lines(file, evaluate::agents)?;
        // A fleet of its own needs no settings file, but uses the settings of one that exists.
        if !global.config.exists() {
            return Ok(Ok((Settings::default(), agents)));
        }
        return Ok(global.load()?.map(|config| (router_settings(&config.router), agents)));
    }
    let config = match global.load()? {
        Ok(config) => config,
        Err(exit) => return Ok(Err(exit)),
    };
    let settings = router_settings(&config.router);
    let agents = runtime()?.block_on(async {
        let host = Host::new(config, Purpose::Ask)?;
        host.load_all().await;
        let snapshot = host.registry.snapshot();
        let serving = snapshot.agents().filter(|entry| entry.version().is_some());
        anyhow::Ok(serving.map(|entry| entry.routed()).collect::<Vec<_>>())
    })?;
    Ok(Ok((settings, agents)))
}

fn shown(report: &Report) -> String {
    let metrics = &report.metrics;
    let percent = |share: f64| format!("{:.1} %", share * 100.0);
    let maybe = |share: Option<f64>| share.map_or("- (needs tasks without an agent)".to_owned(), percent);
    let rows = [
        ("queries, agents", format!("{}, {}", metrics.queries, metrics.agents)),
        ("right agent first", percent(metrics.top1)),
        ("among the first three", percent(metrics.top3)),
        ("AUROC of rejection", maybe(metrics.auroc)),
        ("right at the threshold", percent(metrics.in_scope_accuracy)),
        ("rejected out of scope", maybe(metrics.oos_recall)),
        ("calibration error", format!("{:.3}", metrics.calibration_error)),
        ("build", format!("{:.1} ms", metrics.build_ms)),
        ("a decision, p50 and p99", format!("{:.1} and {:.1} µs", metrics.p50_us, metrics.p99_us)),
    ];
    let rows: Vec<Vec<String>> = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    let mut shown = output::table(&["what", "how much"], &rows);
    for confusion in report.confusions.iter().take(CONFUSIONS) {
        let name = |agent: &Option<String>| agent.clone().unwrap_or_else(|| "no agent".to_owned());
        shown.push_str(&format!(
            "\n{} x {} went to {}, such as: {}",
            confusion.count,
            text::line(&name(&confusion.expected)),
            text::line(&name(&confusion.got)),
            text::line(&confusion.example)
        ));
    }
    shown
}
