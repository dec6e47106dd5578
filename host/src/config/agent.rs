//! `[agents.*]`: which component serves under which id, and what the operator says of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::entry::{Entry, integer, type_name};
use super::key::{Key, Kind, count_otherwise, other};
use super::report::Report;
use super::section::{Section, join};
use super::{EngineConfig, Limits, limits, server};
use crate::domain::{AgentId, AgentKey, Grants, InvalidId, MAX_TASK_CHARS, TenantId};

/// One agent, as agents.toml has it.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentConfig {
    /// Whose it is, and the table's name.
    pub key: AgentKey,
    /// `component`: the component's file, absolute.
    pub component: PathBuf,
    /// What overrides the component's own description.
    pub overlay: Overlay,
    /// What one call may spend: `limits` over `[defaults.limits]`.
    pub limits: Limits,
    /// `config`: what `wasi:config` gives the guest. Values of any TOML scalar type, as text.
    pub config: BTreeMap<String, String>,
    /// `grants`: the gated capabilities that it may use, and how much of each.
    pub grants: Grants,
    /// `max_concurrent`: calls of this agent that may run at once; the scheduler's default without it.
    pub max_concurrent: Option<u32>,
    /// `queue`: calls of this agent that may wait; the scheduler's default without it.
    pub queue: Option<u32>,
    /// `tags`: words for people and tools; no meaning to the host.
    pub tags: Vec<String>,
}

/// What overrides the component's own `describe`. `None` keeps the component's value.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Overlay {
    /// `name`
    pub name: Option<String>,
    /// `description`
    pub description: Option<String>,
    /// `category`
    pub category: Option<String>,
    /// `triggers`
    pub triggers: Option<Vec<String>>,
    /// `examples`
    pub examples: Option<Vec<String>>,
    /// `model`
    pub model: Option<String>,
    /// `cost_per_query`: money as text, such as `"$0.001"`.
    pub cost_per_query: Option<String>,
    /// `default_query`
    pub default_query: Option<String>,
}

/// The most triggers of an agent, and the most characters of each.
pub const MAX_TRIGGERS: (usize, usize) = (64, 100);
/// The most examples of an agent, and the most characters of each.
pub const MAX_EXAMPLES: (usize, usize) = (200, 500);
/// The most characters of an agent's name, and of its category, model and cost.
pub const MAX_NAME_CHARS: usize = 100;
/// The most characters of an agent's description.
pub const MAX_DESCRIPTION_CHARS: usize = 10_000;

const NAME: Kind = Kind::Text { max_chars: MAX_NAME_CHARS };

/// The keys of `[agents.ID]`.
pub(super) const KEYS: &[Key] = &[
    Key::new("component", other("a path"), "the component's file (`.wasm`); relative to agents.toml")
        .default_in_words("required"),
    Key::new("name", NAME, "what people read").default_in_words("the component's"),
    Key::new("description", Kind::Text { max_chars: MAX_DESCRIPTION_CHARS }, "what it is for")
        .default_in_words("the component's"),
    Key::new("category", NAME, "what it is listed under, and what `category:` in scopes means")
        .default_in_words("the component's"),
    Key::new(
        "triggers",
        Kind::Texts { max_items: MAX_TRIGGERS.0, max_chars: MAX_TRIGGERS.1 },
        "words and phrases that route a task to it",
    )
    .default_in_words("the component's"),
    Key::new(
        "examples",
        Kind::Texts { max_items: MAX_EXAMPLES.0, max_chars: MAX_EXAMPLES.1 },
        "tasks that it is for",
    )
    .default_in_words("the component's"),
    Key::new("model", NAME, "the language model that it says it uses").default_in_words("the component's"),
    Key::new("cost_per_query", NAME, "money as text, such as `\"$0.001\"`")
        .default_in_words("the component's"),
    Key::new("default_query", Kind::Text { max_chars: MAX_TASK_CHARS }, "the task of a call without one")
        .default_in_words("the component's"),
    Key::new("limits", other("a table"), "what one call may spend: keys as in `[defaults.limits]`")
        .default_in_words("`[defaults.limits]`"),
    Key::new(
        "config",
        other("a table of texts, numbers, flags and dates"),
        "what the agent reads through `wasi:config`",
    )
    .default_in_words("none"),
    Key::new(
        "grants",
        other("a table: for each capability `true`, `false` or a table of its own"),
        "the capabilities that it may use, such as `{ system = true }`, or a part of one: `{ system = { figures = [\"cpu\"] } }`",
    )
    .default_in_words("none"),
    Key::new(
        "max_concurrent",
        count_otherwise(1, 65_536),
        "calls of it that run at once, those that wait for the host included",
    )
    .default_in_words("`scheduler.agent_concurrent`"),
    Key::new("queue", count_otherwise(0, 1_000_000), "calls of it that wait")
        .default_in_words("`scheduler.agent_queue`"),
    Key::new(
        "tags",
        Kind::Texts { max_items: 64, max_chars: 100 },
        "words for people and tools; no meaning to the host",
    )
    .default_in_words("`[]`"),
];

/// What every agent starts from.
pub(super) struct Base<'c> {
    pub(super) limits: Limits,
    pub(super) engine: &'c EngineConfig,
    pub(super) dir: &'c Path,
    /// Whose agents they are.
    pub(super) tenant: TenantId,
}

/// Reads `[agents]`: every table in it.
pub(super) fn read_all(
    report: &mut Report<'_>,
    agents: &DeTable<'_>,
    base: &Base<'_>,
) -> BTreeMap<AgentId, AgentConfig> {
    let mut read = BTreeMap::new();
    for (key, value) in agents {
        let id = id(report, key);
        if let Some(agent) = agent(report, id, key, value, base) {
            read.insert(agent.key.id.clone(), agent);
        }
    }
    read
}

fn id(report: &mut Report<'_>, key: &Spanned<std::borrow::Cow<'_, str>>) -> Option<AgentId> {
    let text = key.get_ref().as_ref();
    let error = match AgentId::parse(text) {
        Ok(id) => return Some(id),
        Err(error) => error,
    };
    let help = match error {
        InvalidId::Reserved(_) => Some(format!("for example `[agents.{text}-agent]`")),
        InvalidId::Form(_) => slug(text).map(|slug| format!("for example `[agents.{slug}]`")),
    };
    report.wrong(key.span(), &join("agents", text), error.to_string(), help);
    None
}

/// The nearest id to a text that is none.
fn slug(text: &str) -> Option<String> {
    let plain: String = text
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '_' { c.to_ascii_lowercase() } else { '-' })
        .collect();
    let slug: String = plain.trim_matches(['-', '_']).chars().take(64).collect();
    AgentId::parse(&slug).ok().map(|_| slug)
}

fn agent(
    report: &mut Report<'_>,
    id: Option<AgentId>,
    key: &Spanned<std::borrow::Cow<'_, str>>,
    value: &Spanned<DeValue<'_>>,
    base: &Base<'_>,
) -> Option<AgentConfig> {
    let path = join("agents", key.get_ref());
    let Some(table) = value.get_ref().as_table() else {
        let message = format!("`{path}` must be a table, not {}", type_name(value.get_ref()));
        let help = "each agent has a table of its own: `[agents.ID]`, and its keys below".to_owned();
        report.wrong(key.span(), &path, message, help);
        return None;
    };
    let section = Section::of(report, format!("[{path}]"), path, key.span(), Some(table), KEYS);
    let component = match section.get("component") {
        Some(entry) => server::path(report, &entry, base.dir),
        None => {
            report.wrong_in_context(
                section.at.clone(),
                &section.path_of("component"),
                format!("{} has no `component`", section.title),
                "add the component's file: `component = \"plugins/NAME.wasm\"`".to_owned(),
            );
            None
        }
    };
    let limits_section = section.table(report, "limits", limits::KEYS);
    Some(AgentConfig {
        overlay: overlay(report, &section),
        limits: limits::read(report, &limits_section, base.limits, base.engine),
        config: section.get("config").map(|entry| config(report, &entry)).unwrap_or_default(),
        grants: section.get("grants").map(|entry| super::grants::read(report, &entry)).unwrap_or_default(),
        max_concurrent: section.count_if_set(report, "max_concurrent"),
        queue: section.count_if_set(report, "queue"),
        tags: section.texts(report, "tags").unwrap_or_default(),
        component: component.unwrap_or_default(),
        key: AgentKey { tenant: base.tenant.clone(), id: id? },
    })
}

fn overlay(report: &mut Report<'_>, section: &Section<'_, '_>) -> Overlay {
    Overlay {
        name: section.text(report, "name"),
        description: section.text(report, "description"),
        category: section.text(report, "category"),
        triggers: section.texts(report, "triggers"),
        examples: section.texts(report, "examples"),
        model: section.text(report, "model"),
        cost_per_query: section.text(report, "cost_per_query"),
        default_query: section.text(report, "default_query"),
    }
}

/// Values of any scalar type, as text: what `wasi:config` can carry.
pub(super) fn config(report: &mut Report<'_>, entry: &Entry<'_, '_>) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    let Some(table) = entry.value.get_ref().as_table() else {
        entry.wrong_type(report);
        return values;
    };
    for (name, value) in table {
        let text = match value.get_ref() {
            DeValue::String(text) => Some(text.to_string()),
            DeValue::Integer(_) => integer(value).map(|number| number.to_string()),
            DeValue::Float(float) => Some(float.as_str().to_owned()),
            DeValue::Boolean(flag) => Some(flag.to_string()),
            DeValue::Datetime(time) => Some(time.to_string()),
            DeValue::Array(_) | DeValue::Table(_) => None,
        };
        match text {
            Some(text) => {
                values.insert(name.get_ref().to_string(), text);
            }
            None => {
                let path = join(&entry.path, name.get_ref());
                let message = format!(
                    "`{path}` must be a text, number, flag or date, not {}",
                    type_name(value.get_ref())
                );
                let help = "write it as text, such as JSON in single quotes: '[1, 2]'".to_owned();
                report.wrong_secret(value.span(), &path, message, help);
            }
        }
    }
    values
}
