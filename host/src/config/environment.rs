//! The environment as a value that is handed in, and the few settings that it overrides.
//!
//! Nothing else in the host reads a variable for its settings; tests hand in a map.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::report::Report;
use super::section::shorten;
use super::{AuthConfig, KeyConfig, ServerConfig, auth, server};
use crate::domain::text::nearest;
use crate::domain::{AgentScope, CapabilityScope, Digest, Role, TenantId};

/// Variables and the current folder.
pub trait Environment {
    /// The variable `name`, where it is set to something.
    fn get(&self, name: &str) -> Option<String>;

    /// The names of all variables.
    fn names(&self) -> Vec<String> {
        Vec::new()
    }

    /// Where relative paths in variables start from; agents.toml's own folder where unknown.
    fn current_dir(&self) -> Option<PathBuf> {
        None
    }
}

/// The environment of this process.
#[derive(Debug, Default, Clone, Copy)]
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    fn get(&self, name: &str) -> Option<String> {
        // What is not UTF-8 is passed on with replacement characters, which no setting accepts.
        std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
    }

    fn names(&self) -> Vec<String> {
        std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned()).collect()
    }

    fn current_dir(&self) -> Option<PathBuf> {
        std::env::current_dir().ok()
    }
}

/// A fixed environment; empty by default.
impl Environment for BTreeMap<String, String> {
    fn get(&self, name: &str) -> Option<String> {
        BTreeMap::get(self, name).cloned()
    }

    fn names(&self) -> Vec<String> {
        self.keys().cloned().collect()
    }
}

/// No environment at all.
#[derive(Debug, Default, Clone, Copy)]
pub struct NoEnvironment;

impl Environment for NoEnvironment {
    fn get(&self, _name: &str) -> Option<String> {
        None
    }
}

/// Adds a key named `env` with the role `call`.
const API_KEY: &str = "ORCHESTRATOR_API_KEY";
/// The scope of that key, comma separated; `*` without it.
const SCOPE: &str = "AUTHORIZED_AGENTS_SCOPE";
/// Overrides `server.allowed_origins`; comma separated or a JSON list.
const ORIGINS: &str = "ALLOWED_ORIGINS";
/// Overrides `server.listen`.
const LISTEN: &str = "STOCKADE_LISTEN";
/// Overrides `server.data_dir`.
const DATA_DIR: &str = "STOCKADE_DATA_DIR";

/// The host that commands ask, where `--server` names none.
pub const SERVER_VARIABLE: &str = "STOCKADE_SERVER";
/// The key that commands send, where `--key-file` names none.
pub const KEY_VARIABLE: &str = "STOCKADE_KEY";

/// Every variable that the program reads for its own settings, with what it does: for docs/settings.md.
pub const VARIABLES: &[(&str, &str)] = &[
    (API_KEY, "adds a key named `env` with the role `call`; an empty value counts as absent"),
    (SCOPE, "the scope of that key, comma separated; `*` unless given"),
    (ORIGINS, "overrides `server.allowed_origins`; comma separated, or a JSON list"),
    (LISTEN, "overrides `server.listen`"),
    (DATA_DIR, "overrides `server.data_dir`; a relative path starts from the current folder"),
    (
        SERVER_VARIABLE,
        "for commands: the host to ask, such as `http://127.0.0.1:8001`; `--server` overrides it",
    ),
    (KEY_VARIABLE, "for commands: the key for that host; `--key-file` overrides it"),
];

/// What variables of ours begin with.
const PREFIXES: [&str; 2] = ["STOCKADE_", "ORCHESTRATOR_"];
/// Variables of the project's own tests.
const TESTS: [&str; 2] = ["STOCKADE_UPDATE_GOLDEN", "STOCKADE_CRASH_ROUNDS"];

/// A warning for each variable that looks like one of ours and is none.
pub fn unknown_variables(environment: &dyn Environment) -> Vec<String> {
    let known: Vec<&str> = VARIABLES.iter().map(|(name, _)| *name).collect();
    let is_ours = |name: &str| PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    let is_known = |name: &str| known.contains(&name) || TESTS.contains(&name);
    let mut names = environment.names();
    names.retain(|name| is_ours(name) && !is_known(name));
    names.sort();
    let warning = |name: &String| {
        let near = nearest_variable(name, &known);
        let hint = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
        format!("the variable {} has no meaning here{hint}", shorten(name))
    };
    names.iter().map(warning).collect()
}

/// The known variable that is nearest to `name`, if any is near.
fn nearest_variable<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    let lower: Vec<String> = known.iter().map(|known| known.to_lowercase()).collect();
    let lower: Vec<&str> = lower.iter().map(String::as_str).collect();
    let near = nearest(name, &lower)?;
    known.iter().copied().find(|known| known.eq_ignore_ascii_case(near))
}

/// The shortest key that is not called short, in characters.
const MIN_KEY_CHARS: usize = 32;
/// The longest key that is accepted, in characters.
pub(crate) const MAX_KEY_CHARS: usize = 512;

/// What is set and not blank, trimmed.
pub fn variable(environment: &dyn Environment, name: &str) -> Option<String> {
    let value = environment.get(name)?;
    let value = value.trim();
    (!value.is_empty()).then(|| value.to_owned())
}

/// Overrides `[server]` by the environment.
pub(super) fn override_server(
    report: &mut Report<'_>,
    environment: &dyn Environment,
    base_dir: &Path,
    config: &mut ServerConfig,
) {
    if let Some(value) = variable(environment, LISTEN) {
        match server::parse_listen(&value) {
            Ok(listen) => config.listen = listen,
            Err(help) => report.wrong_variable(LISTEN, format!("{LISTEN} is not an address and port"), help),
        }
    }
    if let Some(value) = variable(environment, DATA_DIR) {
        match server::check_path(&value) {
            Ok(()) => {
                let path = PathBuf::from(value);
                config.data_dir = match environment.current_dir() {
                    Some(folder) => server::absolute(&folder, &path),
                    None => server::absolute(base_dir, &path),
                };
            }
            Err((message, help)) => {
                report.wrong_variable(DATA_DIR, format!("{DATA_DIR} {message}"), help);
            }
        }
    }
    if let Some(value) = variable(environment, ORIGINS) {
        override_origins(report, &value, config);
    }
}

fn override_origins(report: &mut Report<'_>, value: &str, config: &mut ServerConfig) {
    let list = if value.starts_with('[') {
        let Ok(list) = serde_json::from_str::<Vec<String>>(value) else {
            let help = "write `https://a.example,https://b.example` or \
                `[\"https://a.example\", \"https://b.example\"]`";
            let message = format!("{ORIGINS} begins with `[` but is not a JSON list of texts");
            report.wrong_variable(ORIGINS, message, help.to_owned());
            return;
        };
        list
    } else {
        value.split(',').map(str::to_owned).collect()
    };
    let mut origins = Vec::new();
    for text in list.iter().map(|text| text.trim()).filter(|text| !text.is_empty()) {
        match server::parse_origin(text) {
            Ok(origin) => origins.push(origin),
            Err(help) => {
                report.wrong_variable(ORIGINS, format!("{ORIGINS} has an entry that is not an origin"), help);
                return;
            }
        }
    }
    config.allowed_origins = origins;
}

/// Adds the environment's key to `[auth]`.
pub(super) fn add_key(report: &mut Report<'_>, environment: &dyn Environment, config: &mut AuthConfig) {
    let Some(key) = variable(environment, API_KEY) else {
        return;
    };
    let chars = key.chars().count();
    if !key.bytes().all(|byte| byte.is_ascii_graphic()) || chars > MAX_KEY_CHARS {
        let message = format!("{API_KEY} cannot be sent in a header");
        let help = format!(
            "use 32 to {MAX_KEY_CHARS} visible ASCII characters without blanks, such as \
            `stockade keys create` makes"
        );
        report.wrong_variable(API_KEY, message, help);
        return;
    }
    let scope = variable(environment, SCOPE).unwrap_or_else(|| "*".to_owned());
    let patterns = scope.split(',').map(str::trim).filter(|text| !text.is_empty());
    let scope = match AgentScope::parse(patterns) {
        Ok(scope) => scope,
        Err(error) => {
            report.wrong_variable(SCOPE, format!("{SCOPE}: {error}"), None);
            return;
        }
    };
    let sha256 = Digest::of(key.as_bytes());
    if let Some(same) = config.keys.iter().find(|other| other.sha256 == sha256) {
        let message = format!("{API_KEY} is the same key as `{}` in agents.toml", same.name);
        let help = "unset the variable, or remove that [[auth.keys]]: which scope counts would be unclear";
        report.wrong_variable(API_KEY, message, help.to_owned());
        return;
    }
    config.keys.push(KeyConfig {
        name: auth::ENVIRONMENT_KEY.to_owned(),
        sha256,
        role: Role::Call,
        tenant: TenantId::default_tenant(),
        scope,
        capabilities: CapabilityScope::All,
        priority: 0,
        short: chars < MIN_KEY_CHARS,
    });
}
