//! What names the settings that an agent's version serves under: a digest of their one canonical form.
//!
//! Records keep it, so that a start knows whether the settings are those that served. So the form is fixed:
//! JSON with keys in the order below, durations in nanoseconds, maps by their keys, policies as
//! [`Grants`] are serialised. What is absent is left out, so that a setting which is added later
//! changes no fingerprint of those who do not set it. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{AgentConfig, Limits, Overlay};
use crate::domain::{AgentId, Capability, Digest, Grant, Grants, Policy};

#[derive(Serialize)]
struct Canonical<'a> {
    agent: &'a AgentId,
    overlay: CanonicalOverlay<'a>,
    limits: CanonicalLimits,
    config: &'a BTreeMap<String, String>,
    grants: &'a Grants,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_concurrent: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<u32>,
}

#[derive(Serialize)]
struct CanonicalOverlay<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    category: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    triggers: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    examples: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost_per_query: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    default_query: Option<&'a str>,
}

#[derive(Serialize)]
struct CanonicalLimits {
    fuel: u64,
    timeout_ns: u128,
    memory: u64,
    output: u64,
    host_calls: u64,
    host_bytes: u64,
    handles: u32,
    log: u64,
}

impl AgentConfig {
    /// A digest of everything that a version of the agent serves under but its code: these settings, with
    /// `grants` as they take effect. The same in every release of this program.
    pub fn fingerprint(&self, grants: &Grants) -> Digest {
        // Texts, numbers and maps by text always have a JSON form.
        let canonical = serde_json::to_vec(&self.canonical(grants)).unwrap_or_default();
        Digest::of(&canonical)
    }

    fn canonical<'a>(&'a self, grants: &'a Grants) -> Canonical<'a> {
        let Self { key, component: _, overlay, limits, config, grants: _, max_concurrent, queue, tags: _ } =
            self;
        let Overlay { name, description, category, triggers, examples, model, cost_per_query, default_query } =
            overlay;
        let Limits { fuel, timeout, memory, output, host_calls, host_bytes, handles, log } = *limits;
        Canonical {
            agent: &key.id,
            overlay: CanonicalOverlay {
                name: name.as_deref(),
                description: description.as_deref(),
                category: category.as_deref(),
                triggers: triggers.as_deref(),
                examples: examples.as_deref(),
                model: model.as_deref(),
                cost_per_query: cost_per_query.as_deref(),
                default_query: default_query.as_deref(),
            },
            limits: CanonicalLimits {
                fuel,
                timeout_ns: timeout.as_nanos(),
                memory,
                output,
                host_calls,
                host_bytes,
                handles,
                log,
            },
            config,
            grants,
            max_concurrent: *max_concurrent,
            queue: *queue,
        }
    }

    /// The fingerprint that programs up to 0.1.0 made of the same settings: of their `Debug` text. Records that
    /// those programs wrote have it. `None` for what those programs could not say: a part of a capability.
    pub fn fingerprint_of_0_1(&self, grants: &Grants) -> Option<Digest> {
        let mut flags = BTreeMap::new();
        for capability in Capability::ALL {
            match grants.get(*capability) {
                Some(Grant::Denied) => flags.insert(capability.as_str(), false),
                Some(Grant::Granted(policy)) if *policy == Policy::whole(*capability) => {
                    flags.insert(capability.as_str(), true)
                }
                Some(Grant::Granted(_)) => return None,
                None => None,
            };
        }
        let Overlay { name, description, category, triggers, examples, model, cost_per_query, default_query } =
            &self.overlay;
        let Limits { fuel, timeout, memory, output, host_calls, host_bytes, handles, log } = self.limits;
        let overlay = format!(
            "Overlay {{ name: {name:?}, description: {description:?}, category: {category:?}, \
             triggers: {triggers:?}, examples: {examples:?}, model: {model:?}, \
             cost_per_query: {cost_per_query:?}, default_query: {default_query:?} }}"
        );
        let limits = format!(
            "Limits {{ fuel: {fuel}, timeout: {timeout:?}, memory: {memory}, output: {output}, \
             host_calls: {host_calls}, host_bytes: {host_bytes}, handles: {handles}, log: {log} }}"
        );
        let (id, config, max_concurrent, queue) =
            (&self.key.id, &self.config, self.max_concurrent, self.queue);
        let all = format!(
            "({id:?}, {overlay}, {limits}, {config:?}, Grants({flags:?}), {max_concurrent:?}, {queue:?})"
        );
        Some(Digest::of(all.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{NoEnvironment, parse};
    use super::*;

    /// A little of everything.
    const AGENTS: &str = r#"
[agents.plain]
component = "a.wasm"
[agents.a]
component = "a.wasm"
grants = { system = true }
[agents.part]
component = "a.wasm"
grants = { system = { figures = ["memory", "cpu"] } }
[agents.full]
component = "a.wasm"
name = "Full \"quoted\" ü"
description = "line\nnext\ttab"
category = "ops"
triggers = ["x y", "z"]
examples = []
model = "m"
cost_per_query = "$0.001"
default_query = "cpu"
limits = { fuel = 7000000, timeout = "1500ms", memory = "200MiB", output = 1000, host_calls = 5, host_bytes = 77, handles = 9, log = 0 }
config = { key = "v", number = 5, "odd key" = "it's" }
grants = { system = false }
max_concurrent = 3
queue = 0
tags = ["t"]
"#;

    fn agents(text: &str) -> BTreeMap<AgentId, AgentConfig> {
        parse(text, "agents.toml", Path::new("/srv"), &NoEnvironment).expect("valid").agents
    }

    /// Records have these. A new one here makes a new generation of every agent that any host serves.
    #[test]
    fn fingerprints_are_what_they_were() {
        let agents = agents(AGENTS);
        let canonical = |id: &str| {
            let agent = &agents[id];
            serde_json::to_string(&agent.canonical(&agent.grants)).expect("JSON")
        };
        let limits = r#"{"fuel":1000000000,"timeout_ns":30000000000,"memory":67108864,"output":1048576,"host_calls":10000,"host_bytes":16777216,"handles":1000,"log":65536}"#;
        for (id, grants) in [
            ("plain", "{}"),
            ("a", r#"{"system":true}"#),
            ("part", r#"{"system":{"figures":["cpu","memory"]}}"#),
        ] {
            let expected = format!(
                r#"{{"agent":"{id}","overlay":{{}},"limits":{limits},"config":{{}},"grants":{grants}}}"#
            );
            assert_eq!(canonical(id), expected);
        }
        assert_eq!(
            canonical("full"),
            r#"{"agent":"full","overlay":{"name":"Full \"quoted\" ü","description":"line\nnext\ttab","category":"ops","triggers":["x y","z"],"examples":[],"model":"m","cost_per_query":"$0.001","default_query":"cpu"},"limits":{"fuel":7000000,"timeout_ns":1500000000,"memory":209715200,"output":1000,"host_calls":5,"host_bytes":77,"handles":9,"log":0},"config":{"key":"v","number":"5","odd key":"it's"},"grants":{"system":false},"max_concurrent":3,"queue":0}"#
        );
        let fingerprint = |id: &str| agents[id].fingerprint(&agents[id].grants);
        assert_eq!(fingerprint("full"), Digest::of(canonical("full").as_bytes()));
        assert_eq!(
            fingerprint("a").to_string(),
            "a2d00f8e91fad0f768c550ea682e11955bd95c1eb020610cc8b9190a39bb44f0"
        );
    }

    /// The digests are those that stockade 0.1.0 wrote into its records of these settings.
    #[test]
    fn the_fingerprints_of_the_program_before_are_known() {
        let agents = agents(AGENTS);
        let before =
            |id: &str| agents[id].fingerprint_of_0_1(&agents[id].grants).map(|digest| digest.to_string());
        for (id, digest) in [
            ("plain", "19b40eec8b39a4fe77fd0c57916d0abd48d2d493701644f090b0d8289b17dc2b"),
            ("a", "169e9d7788195b8fa779f15dae002ac959ef65faa627e263b169256fb6c187ef"),
            ("full", "18587c1116e95bdac8a0e6d44e89bf0cc24a888139af9a76e5040e4f789320fb"),
        ] {
            assert_eq!(before(id).as_deref(), Some(digest), "{id}");
        }
        assert_eq!(before("part"), None);
    }

    #[test]
    fn every_setting_that_a_version_serves_under_counts() {
        let plain = "[agents.a]\ncomponent = 'a.wasm'\n";
        let of = |more: &str| {
            let agents = agents(&format!("{plain}{more}"));
            agents["a"].fingerprint(&agents["a"].grants)
        };
        let others = [
            "name = 'a'",
            "description = 'a'",
            "category = 'a'",
            "triggers = ['a']",
            "examples = ['a']",
            "model = 'a'",
            "cost_per_query = 'a'",
            "default_query = 'a'",
            "limits.fuel = 5000",
            "limits.timeout = '29s'",
            "limits.memory = '1MiB'",
            "limits.output = 5000",
            "limits.host_calls = 5",
            "limits.host_bytes = 5",
            "limits.handles = 5",
            "limits.log = 5",
            "config = { a = 'a' }",
            "grants = { system = true }",
            "grants = { system = false }",
            "grants = { system = { figures = ['cpu'] } }",
            "grants = { system = { figures = ['load'] } }",
            "max_concurrent = 1",
            "queue = 1",
        ];
        let all: std::collections::BTreeSet<Digest> = others.iter().map(|more| of(more)).collect();
        assert_eq!(all.len(), others.len());
        assert!(!all.contains(&of("")));
        assert_eq!(of("tags = ['a']"), of(""), "words for people change nothing");
    }
}
