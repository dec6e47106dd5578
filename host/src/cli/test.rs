//! `stockade test`: runs the contract's conformance cases and an author's own against a component, in
//! the real sandbox and without a server; the same for every language.
//!
//! Here is the order of things. What is tested is found in `target`, one task is run in `subject`; the
//! cases of the contract are in `conformance`, an author's are judged in `judge`; `report` and `junit`
//! show how it went.

mod conformance;
mod judge;
mod junit;
mod report;
mod subject;
mod target;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use clap::Args;

use super::output::{self, Output};
use super::{Exit, Global, runtime};
use crate::config::cases::{self, Base, Case};
use crate::config::{Config, LoadError};
use crate::domain::text;
use conformance::Planned;
use report::{Report, Row, Suite};
use subject::Subject;
use target::Target;

/// Arguments of `stockade test`.
#[derive(Debug, Args)]
pub(super) struct TestArgs {
    /// A component (.wasm), a project's folder with its component built, or an agent's id in the settings
    /// file
    target: String,
    /// The author's cases; without it, `cases.toml` in the folder, where a folder is given
    #[arg(long, value_name = "FILE")]
    cases: Option<PathBuf>,
    /// Write the results as JUnit XML, too
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Run only the cases whose name contains this, in any case
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
}

/// Runs it.
pub(super) fn run(global: &Global, args: &TestArgs) -> anyhow::Result<Exit> {
    let _logging = global.quiet_logging();
    let config = match settings(global)? {
        Ok(config) => config,
        Err(exit) => return Ok(exit),
    };
    let target = match target::find(&args.target, &config) {
        Ok(target) => target,
        Err(problem) => {
            return usage(
                global,
                &serde_json::json!([{ "message": problem }]),
                &text::set_in(&format!("error: {problem}")),
            );
        }
    };
    let file = args.cases.as_deref().or(target.cases.as_deref());
    let base = Base { limits: target.limits, config: &target.config, engine: &config.engine };
    let cases = match file.map(|file| cases::load(file, &base)).transpose() {
        Ok(cases) => cases.unwrap_or_default(),
        Err(error) => return usage(global, &super::problems(&error), &wrong_cases(file, &error)),
    };
    let report = runtime()?.block_on(test(&config, &target, file, cases, args.filter.as_deref()))?;
    if let (Some(filter), []) = (&args.filter, report.rows.as_slice()) {
        let problem = format!("no case's name contains `{filter}`; without --filter, all are run and listed");
        return usage(global, &serde_json::json!([{ "message": problem }]), &format!("error: {problem}"));
    }
    if let Some(path) = &args.junit {
        let shown = || format!("cannot write {}", path.display());
        junit::write(&report, File::create(path).with_context(shown)?).with_context(shown)?;
    }
    match global.output() {
        Output::Json => global.output().json(&report.json())?,
        Output::Text => output::print(&report.text())?,
    }
    Ok(if report.failed() == 0 { Exit::Done } else { Exit::Failed })
}

/// The settings file, for limits and the cache of compiled code; where none was named and none is
/// there, the defaults.
fn settings(global: &Global) -> anyhow::Result<Result<Config, Exit>> {
    if global.config == Path::new("agents.toml") && !global.config.exists() {
        return Ok(Ok(Config::defaults(&std::env::current_dir()?)));
    }
    global.load()
}

/// What keeps the command from running anything.
fn usage(global: &Global, json: &serde_json::Value, text: &str) -> anyhow::Result<Exit> {
    match global.output() {
        Output::Json => global.output().json(json)?,
        Output::Text => output::note(text),
    }
    Ok(Exit::Usage)
}

/// Why there are no cases. If the file does not exist, the message about settings files would mislead.
fn wrong_cases(file: Option<&Path>, error: &LoadError) -> String {
    match (error, file) {
        (LoadError::Missing(_) | LoadError::Folder(_), Some(file)) => {
            format!("error: there is no file of cases `{}`; name one with `--cases`", file.display())
        }
        _ => error.to_string(),
    }
}

/// Runs everything whose name the filter lets through.
async fn test(
    config: &Config,
    target: &Target,
    file: Option<&Path>,
    cases: Vec<Case>,
    filter: Option<&str>,
) -> anyhow::Result<Report> {
    let began = Instant::now();
    let wanted =
        |name: &str| filter.is_none_or(|filter| name.to_lowercase().contains(filter.to_lowercase().as_str()));
    let mut report = Report::new(&target.component, file);
    let (subject, loading) = Subject::load(config, target).await?;
    // What failed here keeps the rest from running, so it is shown whatever is asked for.
    report.rows.extend(loading.into_iter().filter(|row| row.problem.is_some() || wanted(&row.name)));
    if let Some(subject) = subject {
        report.describe(&subject);
        for Planned { name, reason, check } in conformance::plan(&subject) {
            if wanted(&name) {
                let found = conformance::run(&subject, &check).await;
                report.rows.push(Row::new(Suite::Conformance, name, reason.to_owned(), found));
            }
        }
        for case in cases {
            if wanted(&case.name) {
                let found = judge::run(&subject, &case).await;
                let file = file.unwrap_or(Path::new("cases.toml")).display();
                let reason = format!("{file}:{}", case.line);
                report.rows.push(Row::new(Suite::Cases, case.name, reason, found));
            }
        }
    }
    report.took = began.elapsed();
    Ok(report)
}
