//! Gated calls, on backends of the test's own: who reaches them, and what becomes of a call that waits.

use std::collections::BTreeMap;
use std::future::pending;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use stockade::capabilities::{AgentRights, Services, SystemInfo, Unavailable};
use stockade::config::{self, EngineConfig, Limits, NoEnvironment};
use stockade::domain::system::{
    Cpu, Disk, Figure, Load, Machine, Memory, Network, Process, ProcessOrder, SystemPolicy,
};
use stockade::domain::{
    AgentId, Capability, CapabilityScope, Digest, Failure, Grant, Grants, Policy, Reply, RequestId, Task,
    TaskText,
};
use stockade::engine::{Compiler, Engine, Invocation, LinkedComponent, Origin, Spent};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::support::{guests, poll_until};

/// A machine that never tells its memory, has a load, and nothing else.
#[derive(Debug, Default)]
struct Endless {
    /// How often its memory was asked for.
    asked: AtomicUsize,
    /// How many of those calls are over.
    gone: Arc<AtomicUsize>,
}

struct Gone(Arc<AtomicUsize>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn none<T>() -> Result<T, Unavailable> {
    Err(Unavailable("there is none".to_owned()))
}

#[async_trait]
impl SystemInfo for Endless {
    async fn machine(&self) -> Result<Machine, Unavailable> {
        none()
    }

    async fn cpu(&self) -> Result<Cpu, Unavailable> {
        none()
    }

    async fn load(&self) -> Result<Load, Unavailable> {
        Ok(Load { one: 1.5, five: 2.5, fifteen: 3.5 })
    }

    async fn memory(&self) -> Result<Memory, Unavailable> {
        let _gone = Gone(self.gone.clone());
        self.asked.fetch_add(1, Ordering::SeqCst);
        pending().await
    }

    async fn disks(&self) -> Result<Vec<Disk>, Unavailable> {
        none()
    }

    async fn networks(&self) -> Result<Vec<Network>, Unavailable> {
        none()
    }

    async fn processes(&self, _: ProcessOrder, _: usize) -> Result<Vec<Process>, Unavailable> {
        none()
    }
}

/// An engine with one thread for guests, and a guest that asks for figures.
struct Bench {
    runtime: Runtime,
    engine: Arc<Engine>,
    guest: Arc<LinkedComponent>,
    limits: Limits,
    backend: Arc<Endless>,
    _data: TempDir,
}

impl Bench {
    fn new() -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let data = tempfile::tempdir().expect("a folder");
        guests::warm(data.path());
        let text = "[engine]\nguest_threads = 1\n[agents.a]\ncomponent = \"a.wasm\"\n";
        let config = config::parse(text, "agents.toml", Path::new("/"), &NoEnvironment).expect("settings");
        let settings: EngineConfig = config.engine;
        let handle = runtime.handle().clone();
        let engine = Engine::new(&settings, Some(data.path()), Compiler::InProcess, Arc::default(), handle);
        let engine = Arc::new(engine.expect("an engine"));
        let bytes = std::fs::read(guests::guest("hostile")).expect("a component");
        let digest = Digest::of(&bytes);
        let loaded = runtime.block_on(engine.load(bytes.into(), digest, Origin::Kept));
        let guest = Arc::new(loaded.expect("a guest"));
        let limits = config.agents.values().next().expect("an agent").limits;
        Self { runtime, engine, guest, limits, backend: Arc::default(), _data: data }
    }

    /// A call of the guest on the guests' threads; it ends as it is dropped.
    fn call(
        &self,
        query: &str,
        policy: SystemPolicy,
        timeout: Duration,
    ) -> impl Future<Output = (Result<Reply, Failure>, Spent)> + 'static {
        let mut grants = Grants::default();
        grants.set(Capability::System, Some(Grant::Granted(Policy::System(policy))));
        let id = AgentId::parse("a").expect("an id");
        let invocation = Invocation {
            component: self.guest.clone(),
            rights: Arc::new(AgentRights { id, grants, config: BTreeMap::new() }),
            caller: CapabilityScope::All,
            limits: Limits { timeout, ..self.limits },
        };
        let task = Task {
            query: TaskText::parse(query).expect("a task"),
            context: None,
            request_id: RequestId::from_random(1),
            deadline: Instant::now() + timeout,
        };
        let services = Arc::new(Services { system: self.backend.clone() });
        let engine = self.engine.clone();
        let spawned = self.engine.spawn(async move {
            let mut spent = Spent::default();
            let result = engine.call_with(&services, &invocation, task, &mut spent).await;
            (result, spent)
        });
        async move { spawned.await.expect("the engine runs") }
    }

    fn gone(&self) -> usize {
        self.backend.gone.load(Ordering::SeqCst)
    }
}

/// Longer than any test.
const LONG: Duration = Duration::from_secs(3_600);

#[test]
fn a_gated_call_that_never_ends_ends_with_its_guest() {
    let bench = Bench::new();
    let call = bench.call("system memory", SystemPolicy::Everything, Duration::from_millis(100));
    let (result, spent) = bench.runtime.block_on(call);
    assert!(matches!(result, Err(Failure::DeadlineExceeded { queued: false, .. })), "{result:?}");
    assert_eq!((bench.gone(), spent.host_calls), (1, 1), "its backend goes on for nobody");
    // The same where its caller leaves.
    let call = bench.call("system memory", SystemPolicy::Everything, LONG);
    poll_until("the backend is asked", || (bench.backend.asked.load(Ordering::SeqCst) == 2).then_some(()));
    assert_eq!(bench.gone(), 1);
    drop(call);
    poll_until("the backend's call is over", || (bench.gone() == 2).then_some(()));
}

#[test]
fn a_guest_that_waits_for_the_host_holds_no_thread() {
    let bench = Bench::new();
    let waiting = bench.call("system memory", SystemPolicy::Everything, LONG);
    poll_until("it waits", || (bench.backend.asked.load(Ordering::SeqCst) == 1).then_some(()));
    // There is one thread for guests.
    let (result, _) = bench.runtime.block_on(bench.call("system load", SystemPolicy::Everything, LONG));
    assert!(result.expect("an answer").response.contains("1.5"));
    assert_eq!(bench.gone(), 0);
    drop(waiting);
}

#[test]
fn what_is_not_granted_does_not_reach_the_backend() {
    let bench = Bench::new();
    let policy = || SystemPolicy::of([Figure::Load, Figure::Cpu]).expect("a policy");
    let run = |query: &str| bench.runtime.block_on(bench.call(query, policy(), LONG));
    let (result, spent) = run("system memory");
    let response = result.expect("it tells the refusal").response;
    assert!(response.contains("denied") && response.contains("granted in part"), "{response}");
    let [denial] = &spent.denials[..] else { panic!("{:?}", spent.denials) };
    let (capability, key) = (denial.capability, denial.key_to_add.as_str());
    assert_eq!(capability, Capability::System);
    assert_eq!(key, r#"[agents.a.grants] system = { figures = ["cpu", "load", "memory"] }"#);
    assert_eq!((bench.backend.asked.load(Ordering::SeqCst), spent.host_calls), (0, 1));
    for (query, outcome) in [("system load", "granted"), ("system cpu", "unavailable")] {
        let (result, spent) = run(query);
        assert!(result.expect("an answer").response.starts_with(outcome), "{query}");
        assert_eq!(spent.denials, []);
    }
}
