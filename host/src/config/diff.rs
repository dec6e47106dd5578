//! What changed from one [`Config`] to the next, and what of it takes effect without a restart. Pure.
//!
//! Every struct is taken apart by all its fields: a new setting does not compile until it is compared.

use serde::Serialize;

use super::key::{Effect, Key};
use super::{
    AgentConfig, AuthConfig, Config, EngineConfig, ReloadConfig, RouterConfig, SchedulerConfig, ServerConfig,
    auth, engine, reload, router, scheduler, server,
};
use crate::domain::AgentId;

/// What changed. Keys are given as in agents.toml: `server.listen`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Diff {
    /// Agents that are new, in order.
    pub added: Vec<AgentId>,
    /// Agents whose settings differ.
    pub changed: Vec<AgentChange>,
    /// Agents that are removed.
    pub removed: Vec<AgentId>,
    /// Settings whose new value waits for a restart.
    pub at_restart: Vec<String>,
    /// Settings that take effect as soon as the new [`Config`] is used.
    pub at_once: Vec<String>,
}

/// What changed of one agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AgentChange {
    /// Its id.
    pub id: AgentId,
    /// The keys of its table that differ; `limits` also where `[defaults.limits]` changed.
    pub keys: Vec<&'static str>,
}

impl Diff {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The names of the fields in which two values differ. All fields must be given.
macro_rules! differing {
    ($type:ident, $old:expr, $new:expr; $($field:ident),* $(,)?) => {{
        let $type { $($field),* } = $old;
        let mut names: Vec<&'static str> = Vec::new();
        $(if *$field != $new.$field { names.push(stringify!($field)); })*
        names
    }};
}

/// What changed from `old` to `new`.
pub fn diff(old: &Config, new: &Config) -> Diff {
    let mut diff = Diff::default();
    // Where the file lies is no setting; the paths that depend on it are compared themselves.
    // Default limits are compared where they are merged into the agents.
    let Config { server, auth, engine, scheduler, router, reload, default_limits: _, agents, base_dir: _ } =
        old;
    let changed = differing!(ServerConfig, server, new.server;
        listen, data_dir, allowed_origins, trusted_proxies, max_connections, address_connections, key_requests,
        key_bodies,
        max_answers, key_answers, header_timeout, body_timeout, idle_timeout,
        max_body, max_json_depth, max_batch, audit_records, grace_period, log_format, log_level);
    diff.settings("server", server::KEYS, changed);
    let changed = differing!(AuthConfig, auth, new.auth; anonymous, keys);
    diff.settings("auth", auth::KEYS, changed);
    let changed = differing!(EngineConfig, engine, new.engine;
        max_instances, trial_instances, max_memory, max_core_instances, max_memories, max_tables, max_table_elements,
        max_core_instance_size, max_component_size, guest_threads, compile_jobs, compile_memory, compile_time,
        fuel_yield_interval, cache, cache_size);
    diff.settings("engine", engine::KEYS, changed);
    let changed = differing!(SchedulerConfig, scheduler, new.scheduler;
        max_concurrent, agent_concurrent, agent_queue, queue_timeout);
    diff.settings("scheduler", scheduler::KEYS, changed);
    let changed = differing!(RouterConfig, router, new.router; threshold, margin, language);
    diff.settings("router", router::KEYS, changed);
    let changed = differing!(ReloadConfig, reload, new.reload;
        watch, rollback, rollback_calls, rollback_error_rate, keep_versions);
    diff.settings("reload", reload::KEYS, changed);

    for (id, agent) in &new.agents {
        match agents.get(id) {
            None => diff.added.push(id.clone()),
            Some(old) if old != agent => {
                diff.changed.push(AgentChange { id: id.clone(), keys: agent_keys(old, agent) });
            }
            Some(_) => {}
        }
    }
    diff.removed = agents.keys().filter(|id| !new.agents.contains_key(*id)).cloned().collect();
    diff
}

/// The keys of an agent's table in which two differ.
fn agent_keys(old: &AgentConfig, new: &AgentConfig) -> Vec<&'static str> {
    use super::Overlay;
    let mut keys = differing!(AgentConfig, old, new;
        key, component, overlay, limits, config, grants, max_concurrent, queue, tags);
    if let Some(at) = keys.iter().position(|key| *key == "overlay") {
        let overlay = differing!(Overlay, &old.overlay, new.overlay;
            name, description, category, triggers, examples, model, cost_per_query, default_query);
        keys.splice(at..=at, overlay);
    }
    keys
}

impl Diff {
    fn settings(&mut self, section: &str, keys: &[Key], changed: Vec<&'static str>) {
        for name in changed {
            let key = keys.iter().find(|key| key.name == name);
            let list = match key.map(|key| key.effect) {
                Some(Effect::AtOnce) => &mut self.at_once,
                Some(Effect::Restart) | None => &mut self.at_restart,
            };
            list.push(format!("{section}.{name}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{NoEnvironment, parse};
    use super::*;

    fn config(text: &str) -> Config {
        parse(text, "agents.toml", Path::new("/srv"), &NoEnvironment).expect("valid")
    }

    const OLD: &str = "[agents.a]\ncomponent = 'a.wasm'\n[agents.b]\ncomponent = 'b.wasm'\n";

    #[test]
    fn the_same_is_no_change() {
        assert!(diff(&config(OLD), &config(&format!("# comment\n{OLD}"))).is_empty());
    }

    #[test]
    fn agents_are_added_changed_and_removed() {
        let new =
            "[agents.b]\ncomponent = 'b.wasm'\nname = 'B'\nqueue = 5\n[agents.c]\ncomponent = 'c.wasm'\n";
        let diff = diff(&config(OLD), &config(new));
        assert_eq!(diff.added, [AgentId::parse("c").expect("id")]);
        assert_eq!(diff.removed, [AgentId::parse("a").expect("id")]);
        let change = AgentChange { id: AgentId::parse("b").expect("id"), keys: vec!["name", "queue"] };
        assert_eq!(diff.changed, [change]);
        assert!(diff.at_once.is_empty() && diff.at_restart.is_empty());
    }

    #[test]
    fn default_limits_change_the_agents_that_have_none_of_their_own() {
        let own = OLD.replace("[agents.b]", "limits.fuel = 5000\n[agents.b]");
        let new = format!("[defaults.limits]\nfuel = 6000\n{own}");
        let diff = diff(&config(&own), &config(&new));
        let change = AgentChange { id: AgentId::parse("b").expect("id"), keys: vec!["limits"] };
        assert_eq!(diff.changed, [change]);
    }

    #[test]
    fn settings_say_whether_they_wait_for_a_restart() {
        let new = "[server]\nlisten = '127.0.0.1:9'\nmax_batch = 5\n[engine]\ncache = false\n\
            [router]\nthreshold = 0.9\n[auth]\nanonymous = true\n";
        let diff = diff(&config(""), &config(new));
        assert_eq!(diff.at_restart, ["server.listen", "engine.cache"]);
        assert_eq!(diff.at_once, ["server.max_batch", "auth.anonymous", "router.threshold"]);
    }

    #[test]
    fn every_setting_that_is_compared_is_listed() {
        for (keys, fields) in [(server::KEYS, 20), (auth::KEYS, 2), (engine::KEYS, 16), (scheduler::KEYS, 4)]
        {
            assert_eq!(keys.len(), fields);
        }
    }
}
