//! The settings of agents that are registered while the host runs: the keys of `[agents.ID]` as JSON.
//!
//! JSON becomes the tree of values that agents.toml is parsed to, and is read by the same code: both know the same
//! keys, ranges and messages. Here a value has no line.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Map, Value, json};
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};
use utoipa::ToSchema;

use super::problem::{Problem, Problems};
use super::quantity::show_duration;
use super::report::Report;
use super::section::join;
use super::{AgentConfig, Config, Limits, Overlay, agent};
use crate::domain::AgentKey;

/// What problems name in place of a file.
const SETTINGS: &str = "settings";

/// Reads the settings of the agent `key` from JSON. `component` in them is a path, relative to where
/// agents.toml lies; limits that they do not name are the file's `[defaults.limits]`.
///
/// # Errors
/// Everything that is wrong with them; keys are given as in agents.toml: `agents.ID.limits.fuel`.
pub fn agent_from_json(
    config: &Config,
    key: &AgentKey,
    settings: &Map<String, Value>,
) -> Result<AgentConfig, Problems> {
    let path = format!("agents.{}", key.id);
    let mut problems = Vec::new();
    let mut numbers = Vec::new();
    settings.values().for_each(|value| texts_of_numbers(value, &mut numbers));
    let table = Tree { numbers: numbers.iter(), problems: &mut problems }.table(settings, &path);
    if !problems.is_empty() {
        return Err(Problems { problems });
    }
    let mut agents = DeTable::new();
    agents.insert(unplaced(key.id.to_string().into()), unplaced(DeValue::Table(table)));
    let mut report = Report::unplaced(SETTINGS);
    let base = agent::Base {
        limits: config.default_limits,
        engine: &config.engine,
        dir: &config.base_dir,
        tenant: key.tenant.clone(),
    };
    let read = agent::read_all(&mut report, &agents, &base);
    let problems = report.into_problems();
    match read.into_values().next() {
        Some(agent) if problems.is_empty() => Ok(agent),
        _ => Err(Problems { problems }),
    }
}

/// The settings of an agent as [`agent_from_json`] reads them. `component` is left out, for the
/// caller to say.
pub fn agent_to_json(agent: &AgentConfig) -> Map<String, Value> {
    let AgentConfig { key: _, component: _, overlay, limits, config, grants, max_concurrent, queue, tags } =
        agent;
    let Overlay { name, description, category, triggers, examples, model, cost_per_query, default_query } =
        overlay;
    let Limits { fuel, timeout, memory, output, host_calls, host_bytes, handles, log } = limits;
    let mut settings = json!({
        "name": name, "description": description, "category": category, "triggers": triggers,
        "examples": examples, "model": model, "cost_per_query": cost_per_query,
        "default_query": default_query,
        "limits": {
            "fuel": fuel, "timeout": show_duration(*timeout), "memory": memory, "output": output,
            "host_calls": host_calls, "host_bytes": host_bytes, "handles": handles, "log": log,
        },
        "config": config, "grants": grants, "max_concurrent": max_concurrent, "queue": queue, "tags": tags,
    });
    drop_nulls(&mut settings);
    match settings {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// A setting of an agent that differs between two tables.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct SettingChange {
    /// The key, as in agents.toml: `limits.fuel`.
    pub key: String,
    /// The value now; absent where there is none, and for `config`, which may hold what is secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Value>,
    /// The value that would take its place; absent in the same cases.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Value>,
}

/// What would change if the agent had the settings `proposed`, which [`agent_to_json`] made, in the order of
/// keys. Its component is no setting here.
pub fn setting_changes(now: &AgentConfig, proposed: &Map<String, Value>) -> Vec<SettingChange> {
    let (mut from, mut to) = (BTreeMap::new(), BTreeMap::new());
    flatten("", &Value::Object(agent_to_json(now)), &mut from);
    flatten("", &Value::Object(proposed.clone()), &mut to);
    let keys: BTreeSet<String> = from.keys().chain(to.keys()).cloned().collect();
    let change = |key: String| {
        let (from, to) = (from.remove(&key), to.remove(&key));
        if from == to || key == "component" {
            return None;
        }
        let secret = key.starts_with("config.");
        Some(SettingChange { key, from: from.filter(|_| !secret), to: to.filter(|_| !secret) })
    };
    keys.into_iter().filter_map(change).collect()
}

/// Every value below tables, by its dotted key.
fn flatten(path: &str, value: &Value, flat: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, field)| flatten(&join(path, name), field, flat));
        }
        other => {
            flat.insert(path.to_owned(), other.clone());
        }
    }
}

/// A value that is in no file.
fn unplaced<T>(value: T) -> Spanned<T> {
    Spanned::new(0..0, value)
}

/// The numbers in a value as text, in the order in which a [`Tree`] comes by them.
fn texts_of_numbers(value: &Value, texts: &mut Vec<String>) {
    match value {
        Value::Number(number) => texts.push(number.to_string()),
        Value::Array(items) => items.iter().for_each(|item| texts_of_numbers(item, texts)),
        Value::Object(fields) => fields.values().for_each(|field| texts_of_numbers(field, texts)),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// Makes of JSON the values that agents.toml would have. What JSON can say and TOML cannot becomes a problem: null
/// in a list, and whole numbers beyond 63 bits.
struct Tree<'t, 'p> {
    /// The text of each number that is still to come.
    numbers: std::slice::Iter<'t, String>,
    problems: &'p mut Vec<Problem>,
}

impl<'t> Tree<'t, '_> {
    fn table(&mut self, fields: &'t Map<String, Value>, path: &str) -> DeTable<'t> {
        let mut table = DeTable::new();
        for (name, field) in fields {
            // TOML has no null: what is null is absent.
            if let Some(value) = self.value(field, &join(path, name)) {
                table.insert(unplaced(Cow::Borrowed(name.as_str())), unplaced(value));
            }
        }
        table
    }

    /// `None` for null, and for what has become a problem.
    fn value(&mut self, value: &'t Value, path: &str) -> Option<DeValue<'t>> {
        Some(match value {
            Value::Null => return None,
            Value::Bool(flag) => DeValue::Boolean(*flag),
            Value::String(text) => DeValue::String(Cow::Borrowed(text)),
            Value::Number(number) => {
                let text = self.numbers.next()?;
                if number.is_u64() && !number.is_i64() {
                    let help = format!("a whole number must be at most {}", i64::MAX);
                    self.problem(path, text, help);
                    return None;
                }
                DeValue::parse(text).ok()?.into_inner()
            }
            Value::Array(items) => {
                let mut array = DeArray::new();
                for (index, item) in items.iter().enumerate() {
                    let path = format!("{path}[{index}]");
                    if item.is_null() {
                        self.problem(&path, "null", "give it a value, or take it out of the list".to_owned());
                    }
                    if let Some(item) = self.value(item, &path) {
                        array.push(unplaced(item));
                    }
                }
                DeValue::Array(array)
            }
            Value::Object(fields) => DeValue::Table(self.table(fields, path)),
        })
    }

    fn problem(&mut self, path: &str, value: &str, help: String) {
        self.problems.push(Problem {
            file: SETTINGS.to_owned(),
            line: None,
            column: None,
            key: path.to_owned(),
            message: format!("`{path}` is {value}"),
            help: Some(help),
            excerpt: None,
        });
    }
}

/// Leaves out what is null.
fn drop_nulls(value: &mut Value) {
    if let Value::Object(map) = value {
        map.retain(|_, value| !value.is_null());
        map.values_mut().for_each(drop_nulls);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{NoEnvironment, parse};
    use super::*;
    use crate::domain::{AgentId, TenantId};

    fn config(text: &str) -> Config {
        parse(text, "agents.toml", Path::new("/srv"), &NoEnvironment).expect("valid")
    }

    fn key() -> AgentKey {
        AgentKey { tenant: TenantId::default_tenant(), id: AgentId::parse("a").expect("an id") }
    }

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().expect("an object").clone()
    }

    #[test]
    fn what_agents_toml_says_survives_its_json() {
        let config = config(
            "[defaults.limits]\nfuel = 7000\n[agents.a]\ncomponent = 'a.wasm'\nname = 'A'\n\
             triggers = ['x y', 'z']\nlimits = { timeout = '1500ms', memory = '1 MiB' }\nqueue = 3\n\
             config = { key = 'v', number = 5 }\ngrants = { system = true }\ntags = ['t']\nmax_concurrent = 2\n",
        );
        let agent = config.agents.values().next().expect("an agent");
        let mut settings = agent_to_json(agent);
        settings.insert("component".to_owned(), json!("a.wasm"));
        assert_eq!(agent_from_json(&config, &agent.key, &settings).as_ref(), Ok(agent));
    }

    #[test]
    fn what_is_wrong_names_the_key_as_in_the_file() {
        let config = config("");
        let key = key();
        let settings = object(json!({ "component": "a", "limits": { "fuel": "much" }, "triger": [] }));
        let problems = agent_from_json(&config, &key, &settings).expect_err("wrong").problems;
        let keys: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
        assert!(keys.contains(&"agents.a.limits.fuel") && keys.contains(&"agents.a.triger"), "{problems:?}");
    }

    #[test]
    fn what_toml_cannot_say_is_named() {
        let config = config("");
        let key = key();
        for (settings, message) in [
            (json!({ "component": "a", "tags": [null] }), "`agents.a.tags[0]` is null"),
            (
                json!({ "component": "a", "config": { "x": [1, { "y": [null] }] } }),
                "`agents.a.config.x[1].y[0]` is null",
            ),
            (
                json!({ "component": "a", "limits": { "fuel": u64::MAX } }),
                "`agents.a.limits.fuel` is 18446744073709551615",
            ),
        ] {
            let problems = agent_from_json(&config, &key, &object(settings)).expect_err("wrong").problems;
            assert_eq!(
                problems.iter().map(|problem| problem.message.as_str()).collect::<Vec<_>>(),
                [message]
            );
        }
    }

    #[test]
    fn changes_name_keys_and_show_nothing_of_what_may_be_secret() {
        let now = config("[agents.a]\ncomponent = 'a'\nlimits = { fuel = 5000 }\nconfig = { token = 'x' }\n");
        let now = now.agents.values().next().expect("an agent");
        assert_eq!(setting_changes(now, &agent_to_json(now)), []);
        let mut proposed = agent_to_json(now);
        proposed.insert("component".to_owned(), json!("elsewhere"));
        proposed.insert("name".to_owned(), json!("B"));
        proposed["limits"]["fuel"] = json!(6000);
        proposed["config"]["token"] = json!("secret");
        let changes = serde_json::to_value(setting_changes(now, &proposed)).expect("JSON");
        assert_eq!(
            changes,
            json!([
                { "key": "config.token" }, { "key": "limits.fuel", "from": 5000, "to": 6000 },
                { "key": "name", "to": "B" },
            ])
        );
    }

    #[test]
    fn null_is_absent() {
        let config = config("[defaults.limits]\nfuel = 7000\n");
        let key = key();
        let settings = object(json!({ "component": "a", "name": null, "limits": { "log": null } }));
        let agent = agent_from_json(&config, &key, &settings).expect("valid");
        assert_eq!((agent.overlay.name, agent.limits.fuel), (None, 7000));
    }
}
