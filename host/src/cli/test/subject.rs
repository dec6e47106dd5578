//! The component under test: loaded as a host loads it, and run one task at a time.
//!
//! Goes through [`Engine::call_with`], as every call does; owns the engine for as long as it is tested.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::report::{Found, Row, Suite, Usage};
use super::target::Target;
use crate::capabilities::{AgentRights, Line, Services};
use crate::cli::output;
use crate::config::cases::CannedFigures;
use crate::config::{Config, Limits};
use crate::domain::{AgentId, CapabilityScope, Digest, Failure, Grants, Reply, RequestId, Task, TaskText};
use crate::engine::{Compiler, Description, Engine, Invocation, LinkedComponent, Origin, Spent};
use crate::storage::files::read_file;

/// The largest component, in bytes, that compiles before anybody wonders what is going on.
const SMALL: usize = 4 * 1024 * 1024;

/// A component that has described itself.
pub(super) struct Subject {
    engine: Arc<Engine>,
    component: Arc<LinkedComponent>,
    id: AgentId,
    /// What it says of itself.
    pub(super) description: Description,
    /// What a call may spend unless a case says otherwise.
    pub(super) limits: Limits,
    /// What `wasi:config` gives unless a case says otherwise.
    pub(super) config: BTreeMap<String, String>,
}

/// One task to run, with what it may reach and spend.
#[derive(Clone)]
pub(super) struct Attempt {
    pub(super) task: TaskText,
    pub(super) context: Option<String>,
    pub(super) limits: Limits,
    /// The time that the agent is given, where that is less than the limit.
    pub(super) time_left: Option<Duration>,
    pub(super) config: BTreeMap<String, String>,
    pub(super) grants: Grants,
    pub(super) figures: Option<CannedFigures>,
}

/// How a task went.
pub(super) struct Ran {
    pub(super) result: Result<Reply, Failure>,
    pub(super) usage: Option<Usage>,
    /// Whether a capability was refused to it.
    pub(super) refused: bool,
    pub(super) log: Vec<Line>,
}

impl Subject {
    /// Compiles the component and asks it to describe itself. The rows say how that went; without a
    /// subject no host would serve it.
    ///
    /// # Errors
    /// If there is no engine to be had, or the file cannot be read.
    pub(super) async fn load(config: &Config, target: &Target) -> anyhow::Result<(Option<Self>, Vec<Row>)> {
        let path = &target.component;
        // One byte more than allowed is refused below.
        let bytes = read_file(path, config.engine.max_component_size)
            .with_context(|| format!("cannot read {}", path.display()))?;
        // Compiled code is taken from and left to a host that was here before; no folder is made for it.
        let data_dir = Some(config.server.data_dir.as_path()).filter(|folder| folder.is_dir());
        let runtime = tokio::runtime::Handle::current();
        let engine =
            Arc::new(Engine::new(&config.engine, data_dir, Compiler::InProcess, Arc::default(), runtime)?);
        let row = |name: &str, reason: &str, began: Instant, problem: Option<String>| {
            let usage = Usage { wall: began.elapsed(), ..Usage::default() };
            let found = Found { problem, usage: Some(usage), ..Found::default() };
            Row::new(Suite::Conformance, name.to_owned(), reason.to_owned(), found)
        };

        if bytes.len() > SMALL {
            let (file, mebibytes) = (path.display(), bytes.len() / (1024 * 1024));
            output::note(&format!("compiling {file} ({mebibytes} MiB), unless that was done before"));
        }
        let began = Instant::now();
        let digest = Digest::of(&bytes);
        let loaded = engine.load(bytes.into(), digest, Origin::File(path)).await;
        let problem = loaded.as_ref().err().map(ToString::to_string);
        let reason = "a host refuses a component that does not fit the contract or its limits";
        let mut rows = vec![row("the component loads", reason, began, problem)];
        let Ok(component) = loaded.map(Arc::new) else {
            return Ok((None, rows));
        };

        let began = Instant::now();
        let described = engine.describe(component.clone(), &target.id, &target.limits).await;
        let described = described.context("the engine stopped")?;
        let problem = described.as_ref().err().map(ToString::to_string);
        let reason = "it is asked of every version, with all capabilities refused, within 1 s and 64 KiB";
        rows.push(row("`describe` returns within its bounds", reason, began, problem));
        let Ok(description) = described else {
            return Ok((None, rows));
        };
        let (id, limits, config) = (target.id.clone(), target.limits, target.config.clone());
        Ok((Some(Self { engine, component, id, description, limits, config }), rows))
    }

    /// Whether it imports what somebody would have to grant it.
    pub(super) fn is_gated(&self) -> bool {
        !self.component.capabilities().is_empty()
    }

    /// The component's digest.
    pub(super) fn digest(&self) -> crate::domain::Digest {
        self.component.digest()
    }

    /// A task as a caller would send it, with nothing granted.
    pub(super) fn attempt(&self, task: TaskText, context: Option<String>) -> Attempt {
        Attempt {
            task,
            context,
            limits: self.limits,
            time_left: None,
            config: self.config.clone(),
            grants: Grants::default(),
            figures: None,
        }
    }

    /// What is wrong with a context, by the agent's own schema; the host refuses it then.
    pub(super) fn check_context(&self, context: Option<&str>) -> Result<(), String> {
        self.description.context_schema.as_ref().map_or(Ok(()), |schema| schema.check(context))
    }

    /// Runs a task in a fresh sandbox, as a host would for a caller with every right.
    pub(super) async fn run(&self, attempt: Attempt) -> Ran {
        if let Err(problem) = self.check_context(attempt.context.as_deref()) {
            let result = Err(Failure::InvalidContext(problem));
            return Ran { result, usage: None, refused: false, log: Vec::new() };
        }
        let Attempt { task, context, limits, time_left, config, grants, figures } = attempt;
        let services = match figures {
            Some(figures) => Services { system: Arc::new(figures) },
            None => Services::default(),
        };
        let invocation = Invocation {
            component: self.component.clone(),
            rights: Arc::new(AgentRights { id: self.id.clone(), grants, config }),
            caller: CapabilityScope::All,
            limits,
        };
        let task = Task {
            query: task,
            context: context.map(String::into_boxed_str),
            request_id: RequestId::from_random(0),
            deadline: Instant::now() + time_left.unwrap_or(limits.timeout),
        };
        let engine = self.engine.clone();
        let call = async move {
            let mut spent = Spent::default();
            let result = engine.call_with(&Arc::new(services), &invocation, task, &mut spent).await;
            (result, spent)
        };
        let ended = self.engine.spawn(call).await;
        let (result, spent) = ended.unwrap_or_else(|| {
            let internal = "the engine stopped before the task ended".to_owned();
            (Err(Failure::Internal { internal }), Spent::default())
        });
        let refused = !spent.denials.is_empty();
        let usage = Usage {
            wall: spent.wall,
            fuel: Some(spent.fuel),
            peak_memory: spent.peak_memory,
            output: spent.output_bytes,
            host_calls: spent.host_calls,
            host_bytes: spent.host_bytes,
            limits: Some(limits),
        };
        Ran { result, usage: Some(usage), refused, log: spent.lines }
    }
}
