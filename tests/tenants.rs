//! Tenants: agents of one id that belong to two of them have nothing to do with each other.
//!
//! No settings make tenants yet; the host's own parts know them already.

use std::sync::Arc;

use serde_json::Value;
use stockade::app::{Host, Purpose};
use stockade::config::{self, NoEnvironment};
use stockade::domain::{AgentId, AgentKey, Failure, Principal, RequestId, TaskText, TenantId};
use stockade::scheduler::{Explain, Routing, Submission};
use tempfile::TempDir;

use crate::support::guests;

const SETTINGS: &str = r#"
[agents.helper]
component = "<echo>"
name = "Ours"
triggers = ["invoice", "payment"]
[agents.alone]
component = "<echo>"
name = "Alone"
triggers = ["holiday", "vacation"]
[agents.theirs]
component = "<hostile>"
name = "Theirs"
triggers = ["weather", "invoice"]
"#;

/// A host in this process; `theirs` is the agent `helper` of the tenant `acme`.
struct Shared {
    host: Host,
    runtime: tokio::runtime::Runtime,
    _data: TempDir,
}

fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).expect("a tenant")
}

fn key(of: &str, id: &str) -> AgentKey {
    AgentKey { tenant: tenant(of), id: AgentId::parse(id).expect("an id") }
}

fn of(name: &str) -> Principal {
    Principal { tenant: tenant(name), ..Principal::operator("test") }
}

impl Shared {
    fn new() -> Self {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let data = tempfile::tempdir().expect("a folder");
        guests::warm(data.path());
        let text = guests::settings(SETTINGS);
        let mut config = config::parse(&text, "agents.toml", data.path(), &NoEnvironment).expect("settings");
        config.server.data_dir = data.path().to_owned();
        let theirs = config.agents.values_mut().find(|agent| agent.key.id.as_str() == "theirs");
        theirs.expect("an agent").key = key("acme", "helper");
        let host = runtime.block_on(async {
            let host = Host::new(config, Purpose::Ask).expect("a host");
            host.load_all().await;
            host
        });
        Self { host, runtime, _data: data }
    }

    /// Who answers, by name, or why nobody does.
    fn call(&self, of_tenant: &str, agent: &str) -> Result<String, Failure> {
        let submitted = self.host.scheduler.submit(Submission {
            caller: Arc::new(of(of_tenant)).into(),
            agent: agent.to_owned(),
            query: Some(TaskText::parse("echo hello").expect("a task")),
            context: None,
            alone: true,
            request_id: RequestId::from_random(1),
            timeout: None,
        });
        let ended = self.runtime.block_on(submitted);
        ended.result.map(|_| ended.agent.expect("who answered").name.to_string())
    }

    fn route(&self, of_tenant: &str, task: &str) -> Routing {
        let task = TaskText::parse(task).expect("a task");
        self.runtime.block_on(self.host.scheduler.route(&of(of_tenant), &task, Explain::Yes))
    }
}

#[test]
fn two_tenants_agents_of_one_id_are_two_agents() {
    let shared = Shared::new();
    assert_eq!(shared.call("default", "helper").as_deref(), Ok("Ours"));
    for _ in 0..2 {
        assert_eq!(shared.call("acme", "helper").as_deref(), Ok("Theirs"));
    }
    // What is not a tenant's own is not there, whatever its role.
    for (tenant, agent) in [("acme", "alone"), ("nobody", "helper"), ("default", "acme/helper")] {
        let failure = shared.call(tenant, agent).expect_err("nobody answers");
        assert!(matches!(failure, Failure::AgentNotFound(_)), "{tenant} {agent}: {failure:?}");
    }
    let calls = |of: &str| shared.host.scheduler.load_of(&key(of, "helper")).calls;
    assert_eq!((calls("default"), calls("acme"), calls("nobody")), (1, 2, 0));
}

#[test]
fn a_task_is_routed_among_the_callers_tenants_agents_and_explained_by_their_public_ids() {
    let shared = Shared::new();
    for (tenant, expected) in [("default", Some("Ours")), ("acme", Some("Theirs")), ("nobody", None)] {
        let routing = shared.route(tenant, "send the invoice");
        let names: Vec<&str> = routing.ranked.iter().map(|candidate| &*candidate.name).collect();
        assert_eq!(names, Vec::from_iter(expected), "{tenant}");
        assert!(routing.ranked.iter().all(|candidate| candidate.id.as_str() == "helper"));
        let explained: Value = routing.explanation.expect("an explanation");
        let text = explained.to_string();
        assert!(!text.contains("acme") && !text.contains("default/"), "{text}");
        let ranked = explained["decision"]["ranked"].as_array().expect("a list");
        assert!(ranked.iter().all(|choice| choice["agent"] == "helper"), "{text}");
    }
    // What another tenant's agents have influences nothing.
    let routing = shared.route("acme", "which holiday");
    assert!(routing.ranked.is_empty(), "{:?}", routing.ranked);
    assert_eq!(routing.explanation.expect("an explanation")["unknown"], serde_json::json!(["holiday"]));
}
