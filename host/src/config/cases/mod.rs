//! cases.toml: what an agent's author expects of it, one `[[case]]` a task.
//!
//! Read as agents.toml is: every problem at once, each with its place. What a case expects is decided
//! in `expect`, what it makes of the host in `figures`; running cases is not done here.

mod expect;
mod figures;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub use expect::Expect;
pub use figures::{CannedFigures, Given};

use super::entry::{Entry, type_name};
use super::key::{Key, Kind, other};
use super::load::{LoadError, read};
use super::problem::Problems;
use super::report::Report;
use super::section::{Section, join, shorten};
use super::source::Source;
use super::{EngineConfig, Limits, agent, grants, limits};
use crate::domain::{Capability, Grant, Grants, Policy, TaskText};

/// One `[[case]]`.
#[derive(Debug, Clone)]
pub struct Case {
    /// `name`; the task's beginning without it.
    pub name: String,
    /// The line where it begins, from 1.
    pub line: usize,
    /// `task`
    pub task: TaskText,
    /// `context`: JSON text.
    pub context: Option<String>,
    /// What the agent must do.
    pub expect: Expect,
    /// `limits` over those of the agent.
    pub limits: Limits,
    /// `config` over that of the agent.
    pub config: BTreeMap<String, String>,
    /// `grants`: nothing is granted that the case does not name, or give figures for.
    pub grants: Grants,
    /// `system`: the figures that `stockade:system` gives; without any, those of this machine.
    pub system: Option<CannedFigures>,
}

/// What every case starts from.
#[derive(Debug, Clone)]
pub struct Base<'c> {
    /// What one call may spend.
    pub limits: Limits,
    /// What `wasi:config` gives.
    pub config: &'c BTreeMap<String, String>,
    /// What bounds the limits.
    pub engine: &'c EngineConfig,
}

const KEYS: &[Key] = &[
    Key::new("name", Kind::Text { max_chars: 200 }, "what the case is called; unique"),
    Key::new("task", other("a text"), "the task"),
    Key::new("context", other("a table, a list or a text of JSON"), "what is given along"),
    Key::new("expect", other("a text, or a list of texts"), "what the answer must contain"),
    Key::new("equals", other("a text"), "the whole answer"),
    Key::new("matches", other("a regular expression in quotes"), "what must be found in the answer"),
    Key::new("data", other("a value"), "what the answer's data must contain"),
    Key::new("fails", other("a failure's code"), "how the task must fail"),
    Key::new("limits", other("a table"), "as in `[defaults.limits]`"),
    Key::new("config", other("a table of texts, numbers, flags and dates"), "what the agent reads"),
    Key::new("grants", other("a table"), "what it may use, such as `{ system = true }`"),
    Key::new("system", other("a table of figures, or \"denied\""), "what `stockade:system` gives"),
];

/// Reads and checks the cases in the file `path`.
///
/// # Errors
/// Where the file cannot be read, or with everything that is wrong with it.
pub fn load(path: &Path, base: &Base<'_>) -> Result<Vec<Case>, LoadError> {
    parse(&read(path)?, &path.display().to_string(), base).map_err(LoadError::Invalid)
}

/// Checks the text of a file of cases. `file_name` is for messages.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(text: &str, file_name: &str, base: &Base<'_>) -> Result<Vec<Case>, Problems> {
    let source = Source::new(file_name, text);
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut report = Report::new(&source, &errors);
    let cases = cases(&mut report, document.get_ref(), base);
    let problems = report.into_problems();
    if problems.is_empty() { Ok(cases) } else { Err(Problems { problems }) }
}

fn cases(report: &mut Report<'_>, root: &DeTable<'_>, base: &Base<'_>) -> Vec<Case> {
    for (name, _) in root.iter().filter(|(name, _)| name.get_ref() != "case") {
        let shown = shorten(name.get_ref());
        let message = format!("unknown `{shown}`: a file of cases has `[[case]]` and nothing else");
        let help = "write `[[case]]` for each case, and its keys below".to_owned();
        report.wrong(name.span(), &join("", name.get_ref()), message, help);
    }
    let help = || "write `[[case]]` for each case, and below it `task = \"...\"`".to_owned();
    let Some(list) = root.get("case") else {
        // What stands in its place has been reported.
        if root.is_empty() {
            report.wrong_in_context(0..0, "case", "there is no `[[case]]` in this file", help());
        }
        return Vec::new();
    };
    let DeValue::Array(items) = list.get_ref() else {
        let message = format!("`case` must be a list of tables, not {}", type_name(list.get_ref()));
        report.wrong(list.span(), "case", message, "write `[[case]]`, with double brackets".to_owned());
        return Vec::new();
    };
    let mut names = BTreeMap::new();
    let mut read = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let path = format!("case[{index}]");
        match item.get_ref().as_table() {
            Some(table) => read.extend(case(report, path, item.span(), table, base, &mut names)),
            None => {
                let message = format!("`{path}` must be a table, not {}", type_name(item.get_ref()));
                report.wrong(item.span(), &path, message, help());
            }
        }
    }
    read
}

fn case(
    report: &mut Report<'_>,
    path: String,
    at: Range<usize>,
    table: &DeTable<'_>,
    base: &Base<'_>,
    names: &mut BTreeMap<String, usize>,
) -> Option<Case> {
    let line = report.line_of(&at);
    let section = Section::of(report, "[[case]]".to_owned(), path, at, Some(table), KEYS);
    let task = task(report, &section);
    let name = name(report, &section, task.as_ref(), line, names);
    let limits_section = section.table(report, "limits", limits::KEYS);
    let limits = limits::read(report, &limits_section, base.limits, base.engine);
    let mut config = base.config.clone();
    config.extend(section.get("config").map(|entry| agent::config(report, &entry)).unwrap_or_default());
    let (grants, system) = rights(report, &section);
    Some(Case {
        context: section.get("context").and_then(|entry| context(report, &entry)),
        expect: expect::read(report, &section),
        task: task?,
        name,
        line,
        limits,
        config,
        grants,
        system,
    })
}

fn task(report: &mut Report<'_>, section: &Section<'_, '_>) -> Option<TaskText> {
    let Some(entry) = section.get("task") else {
        let help = "add what a caller would ask: `task = \"...\"`".to_owned();
        let message = format!("{} has no `task`", section.title);
        report.wrong_in_context(section.at.clone(), &section.path_of("task"), message, help);
        return None;
    };
    let text = entry.text(report)?;
    match TaskText::parse(text) {
        Ok(task) => Some(task),
        Err(error) => {
            entry.wrong(report, &error.to_string(), None);
            None
        }
    }
}

/// The case's name; the beginning of its task where it has none.
fn name(
    report: &mut Report<'_>,
    section: &Section<'_, '_>,
    task: Option<&TaskText>,
    line: usize,
    names: &mut BTreeMap<String, usize>,
) -> String {
    let given = section.text(report, "name");
    let of_task = || task.map(|task| shorten(task.as_str())).unwrap_or_default();
    let name = given.clone().unwrap_or_else(of_task);
    let Some(first) = names.insert(name.clone(), line) else {
        return name;
    };
    if let Some(entry) = section.get("name").filter(|_| given.is_some()) {
        let message = format!("is `{}` a second time; the first is on line {first}", shorten(&name));
        entry.wrong(report, &message, "give every case a name of its own".to_owned());
    }
    format!("{name} (line {line})")
}

/// A TOML value, or JSON as a text.
fn context(report: &mut Report<'_>, entry: &Entry<'_, '_>) -> Option<String> {
    let DeValue::String(text) = entry.value.get_ref() else {
        return expect::json(report, entry.value, &entry.path).map(|value| value.to_string());
    };
    match serde_json::from_str::<serde::de::IgnoredAny>(text) {
        Ok(_) => Some(text.to_string()),
        Err(error) => {
            let help = "write a table, or JSON in single quotes; a text is '\"text\"' in JSON".to_owned();
            entry.wrong(report, &format!("is not JSON: {error}"), help);
            None
        }
    }
}

/// What is granted, and which figures are given. Figures imply their grant; `"denied"` rules it out.
fn rights(report: &mut Report<'_>, section: &Section<'_, '_>) -> (Grants, Option<CannedFigures>) {
    const SYSTEM: Capability = Capability::System;
    let mut grants = section.get("grants").map(|entry| grants::read(report, &entry)).unwrap_or_default();
    let Some(entry) = section.get(SYSTEM.as_str()) else {
        return (grants, None);
    };
    let figures = match entry.value.get_ref() {
        DeValue::String(_) => {
            if entry.word(report, &["denied"]).is_some()
                && let Some(policy) = grants.policy(SYSTEM)
            {
                let message = format!("is \"denied\", and `grants` has `{SYSTEM} = {policy}`");
                entry.wrong(report, &message, "remove one of them".to_owned());
            }
            grants.set(SYSTEM, Some(Grant::Denied));
            None
        }
        DeValue::Table(_) => {
            if grants.get(SYSTEM).is_none() {
                grants.set(SYSTEM, Some(Grant::Granted(Policy::whole(SYSTEM))));
            }
            Some(figures::read(report, section, SYSTEM.as_str()))
        }
        _ => {
            entry.wrong_type(report);
            None
        }
    };
    (grants, figures)
}

/// The tables of the list at `name`, each with its place; what is no table is reported.
fn tables<'a, 'i>(report: &mut Report<'_>, entry: &Entry<'a, 'i>) -> Option<Vec<Item<'a, 'i>>> {
    let DeValue::Array(items) = entry.value.get_ref() else {
        entry.wrong_type(report);
        return None;
    };
    let mut tables = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let path = format!("{}[{index}]", entry.path);
        match item.get_ref().as_table() {
            Some(table) => tables.push((path, item, table)),
            None => {
                let message = format!("`{path}` must be a table, not {}", type_name(item.get_ref()));
                report.wrong(item.span(), &path, message, None);
            }
        }
    }
    Some(tables)
}

/// A table in a list: its path, its place and itself.
type Item<'a, 'i> = (String, &'a Spanned<DeValue<'i>>, &'a DeTable<'i>);

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;
    use crate::config::Config;

    fn read(text: &str) -> Result<Vec<Case>, Problems> {
        let config = Config::defaults(Path::new("/"));
        let own = BTreeMap::from([("unit".to_owned(), "km".to_owned())]);
        parse(
            text,
            "cases.toml",
            &Base { limits: config.default_limits, config: &own, engine: &config.engine },
        )
    }

    fn one(text: &str) -> Case {
        let mut cases = read(&format!("[[case]]\n{text}")).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(cases.len(), 1);
        cases.remove(0)
    }

    #[test]
    fn a_case_is_a_task_and_what_is_expected_of_it() {
        let case = one("task = ' free memory '\nexpect = 'GiB'\ndata = { memory = { used_percent = 50 } }\n\
            context = { today = 2025-12-31 }\nlimits = { timeout = '1s' }\nconfig = { warn_percent = 80 }\n");
        assert_eq!((case.task.as_str(), case.name.as_str(), case.line), ("free memory", "free memory", 1));
        assert_eq!(case.context.as_deref(), Some(r#"{"today":"2025-12-31"}"#));
        assert_eq!(case.limits.timeout, Duration::from_secs(1));
        assert_eq!(case.config.len(), 2, "the agent's own settings stay");
        assert_eq!(case.grants, Grants::default());
    }

    #[test]
    fn figures_imply_their_grant_unless_it_is_ruled_out() {
        let granted = |text: &str| {
            let grants = one(&format!("task = 'x'\n{text}")).grants;
            grants.get(Capability::System).map(ToString::to_string)
        };
        let part = "{ figures = [\"cpu\"] }";
        for (text, grant) in [
            ("", None),
            ("system = {}", Some("true")),
            ("system = {}\ngrants = { system = false }", Some("false")),
            ("system = {}\ngrants = { system = { figures = ['cpu'] } }", Some(part)),
            ("system = 'denied'", Some("false")),
            ("grants = { system = true }", Some("true")),
        ] {
            assert_eq!(granted(text).as_deref(), grant, "{text}");
        }
    }

    #[test]
    fn figures_have_what_they_need_and_defaults_for_the_rest() {
        let case = one("task = 'x'\n[case.system]\nmemory = { total = '8GiB', used = '2GiB' }\n\
            cpu = { usage_percent = 12.5 }\nload = 'unavailable'\n\
            disks = [{ total = '100GiB', available = '40GiB' }]\n");
        let figures = case.system.expect("figures");
        let Some(Given::Value(memory)) = &figures.memory else { panic!("no memory") };
        assert_eq!((memory.available >> 30, memory.swap_total), (6, 0));
        let Some(Given::Value(cpu)) = &figures.cpu else { panic!("no cpu") };
        assert_eq!(cpu.per_core_percent, [12.5]);
        assert_eq!(figures.load, Some(Given::Unavailable));
        let Some(Given::Value(disks)) = &figures.disks else { panic!("no disks") };
        assert_eq!(disks[0].mount_point, "/");
        assert_eq!(figures.networks, None);
    }

    /// As for agents.toml: each `NAME.toml` in the folder gives exactly the message in `NAME.err`.
    #[test]
    fn golden_messages() {
        let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/cases"));
        let mut seen = 0;
        for entry in std::fs::read_dir(&folder).expect("golden files") {
            let path = entry.expect("an entry").path();
            if path.extension().is_none_or(|extension| extension != "toml") {
                continue;
            }
            seen += 1;
            let text = std::fs::read_to_string(&path).expect("text");
            let config = Config::defaults(Path::new("/"));
            let limits = config.default_limits;
            let base = Base { limits, config: &BTreeMap::new(), engine: &config.engine };
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            let actual = match parse(&text, &name, &base) {
                Ok(_) => "valid\n".to_owned(),
                Err(problems) => format!("{problems}\n"),
            };
            let golden = path.with_extension("err");
            if std::env::var_os("STOCKADE_UPDATE_GOLDEN").is_some() {
                std::fs::write(&golden, &actual).expect("write");
            }
            let expected = std::fs::read_to_string(&golden).unwrap_or_default();
            assert_eq!(actual, expected, "{name}: set STOCKADE_UPDATE_GOLDEN=1 to accept");
        }
        assert!(seen >= 4, "{seen} golden files");
    }
}
