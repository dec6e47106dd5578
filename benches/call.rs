//! What one call costs in process: a fresh sandbox and an echo, alone and through the scheduler.
//!
//! Needs the guest `echo`: `stockade build tests/guests`.

// A benchmark that cannot be set up has nothing to measure: it may say so and stop.
#![allow(clippy::expect_used)]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use criterion::{Criterion, criterion_group, criterion_main};
use stockade::app::{Host, Purpose};
use stockade::config::{self, NoEnvironment};
use stockade::domain::{CapabilityScope, Principal, RequestId, Task, TaskText, TenantId};
use stockade::engine::{Invocation, Spent};
use stockade::scheduler::Submission;

const AGENTS: &str =
    "[agents.echo]\ncomponent = \"tests/guests/target/wasm32-wasip2/release/guest_echo.wasm\"\n";

fn calls(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let data = std::env::temp_dir().join("stockade-bench-call");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut config = config::parse(AGENTS, "agents.toml", &root, &NoEnvironment).expect("settings");
    config.server.data_dir = data;
    let host = runtime.block_on(async {
        let host = Host::new(config, Purpose::Ask).expect("a host");
        host.load_all().await;
        host
    });
    let version = host
        .registry
        .snapshot()
        .find(&TenantId::default_tenant(), "echo")
        .and_then(|entry| entry.version().cloned());
    let version = version.expect("the guest `echo` is built: `stockade build tests/guests`");
    let query = TaskText::parse("hello").expect("a task");
    let request_id = RequestId::from_random(1);

    let invocation = Invocation {
        component: version.component.clone(),
        rights: version.rights.clone(),
        caller: CapabilityScope::All,
        limits: version.limits,
    };
    criterion.bench_function("engine: fresh sandbox, echo", |bencher| {
        bencher.to_async(&runtime).iter(|| {
            let task = Task {
                query: query.clone(),
                context: None,
                request_id: request_id.clone(),
                deadline: Instant::now() + version.limits.timeout,
            };
            let (engine, invocation) = (&host.engine, &invocation);
            async move {
                let mut spent = Spent::default();
                engine.call(invocation, task, &mut spent).await.expect("an echo")
            }
        });
    });

    let principal = Arc::new(Principal::operator("bench"));
    criterion.bench_function("scheduler: submit, echo", |bencher| {
        bencher.to_async(&runtime).iter(|| {
            let submission = Submission {
                caller: (&principal).into(),
                agent: "echo".to_owned(),
                query: Some(query.clone()),
                context: None,
                alone: true,
                request_id: request_id.clone(),
                timeout: None,
            };
            let scheduler = host.scheduler.clone();
            async move { scheduler.submit(submission).await.result.expect("an echo") }
        });
    });
}

criterion_group!(benches, calls);
criterion_main!(benches);
