//! Settings: agents.toml, read in two stages; and cases.toml in the same manner.
//!
//! The text becomes a document in which every value knows its place (`toml`'s spanned tables); the
//! document becomes [`Config`], one file a section, and everything that is wrong is reported at once.
//! What a key means, its range and its default stand in one list a section (`KEYS`), which reading,
//! messages and [`reference()`] share. This room reads one file and the environment that it is handed;
//! it keeps no state, starts no task and knows nothing of wasmtime.

mod agent;
mod auth;
pub mod cases;
pub mod diff;
mod engine;
mod entry;
mod environment;
mod fingerprint;
mod grants;
mod key;
mod limits;
mod load;
mod problem;
mod proxies;
mod quantity;
mod reload;
mod report;
mod router;
mod run_time;
mod scheduler;
mod section;
mod server;
mod source;
mod syntax;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub use agent::{AgentConfig, MAX_DESCRIPTION_CHARS, MAX_EXAMPLES, MAX_NAME_CHARS, MAX_TRIGGERS, Overlay};
pub use auth::{AuthConfig, ENVIRONMENT_KEY, KeyConfig};
pub(crate) use auth::{ROLES, check_key_name};
pub use engine::EngineConfig;
pub(crate) use environment::MAX_KEY_CHARS;
pub use environment::{
    Environment, KEY_VARIABLE, NoEnvironment, ProcessEnvironment, SERVER_VARIABLE, VARIABLES,
    unknown_variables, variable,
};
pub(crate) use grants::capability;
pub use key::{Effect, Key, Kind, SECTIONS, SectionKeys, reference};
pub use limits::Limits;
pub use load::{LoadError, MAX_FILE, load, load_read, parse};
pub use problem::{Problem, Problems};
pub use proxies::TrustedProxies;
pub use reload::ReloadConfig;
pub use router::RouterConfig;
pub use run_time::{SettingChange, agent_from_json, agent_to_json, setting_changes};
pub use scheduler::SchedulerConfig;
pub use server::{LogFormat, ServerConfig};

use crate::domain::AgentId;

/// Everything that agents.toml and the environment say, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `[server]`
    pub server: ServerConfig,
    /// `[auth]`
    pub auth: AuthConfig,
    /// `[engine]`
    pub engine: EngineConfig,
    /// `[scheduler]`
    pub scheduler: SchedulerConfig,
    /// `[router]`
    pub router: RouterConfig,
    /// `[reload]`
    pub reload: ReloadConfig,
    /// `[defaults.limits]`: what agents that are registered while the host runs start from; those of
    /// the file have it merged already.
    pub default_limits: Limits,
    /// `[agents.*]`, by id, their limits already merged with `[defaults.limits]`.
    pub agents: BTreeMap<AgentId, AgentConfig>,
    /// The folder that relative paths in the file start from.
    pub base_dir: PathBuf,
}
