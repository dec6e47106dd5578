//! The engine: component bytes in, sandboxed calls out.
//!
//! Owns wasmtime's engine and linker, the cache of compiled code and the threads on which all
//! guests are polled. Knows nothing of tenants, HTTP or agents.toml; limits and rights are
//! handed in with each call.

mod aside;
mod cache;
mod call;
mod child;
mod clock;
mod compile;
mod compiler;
mod component;
mod crossing;
mod describe;
mod fence;
mod frames;
mod functions;
mod incremental;
mod lines;
mod meaning;
mod names;
mod output;
mod pace;
mod schema;
mod self_test;
mod settings;
mod sweep;
mod threads;
mod trial;
mod turns;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::Semaphore;
use wasmtime::component::Linker;

pub(crate) use call::DATA_IS_NOT_JSON;
pub use call::{Invocation, Spent};
pub use clock::{Progress, RunClock, Slot};
pub use compiler::{Refusal, compile_here};
pub use component::{LinkedComponent, LoadError};
pub use describe::{DescribeError, Description, Example};
pub use pace::{Pace, Paced};
pub use schema::ContextSchema;
pub use self_test::{MAX_SELF_TESTS, SelfTestError};
pub use threads::GuestTask;
pub use trial::TrialError;
pub use turns::Lane;

use crate::capabilities::{self, CallState, Services};
use crate::config::EngineConfig;
use crate::domain::Digest;
use cache::Cache;
use threads::GuestThreads;

/// Why there is no engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// wasmtime refused its settings; most often the pool's address space cannot be reserved.
    #[error(
        "cannot set up the pool of {instances} sandboxes with {memory} bytes each: {reason}; \
         lower `max_instances`, `max_memories` or `max_tables` in [engine], or raise the system's limit of address space (`ulimit -v`)"
    )]
    Pool {
        /// `max_instances`
        instances: u32,
        /// `max_memory`
        memory: u64,
        /// wasmtime's words.
        reason: String,
    },
    /// The linker refused a capability: a fault of this program.
    #[error("cannot link the capabilities: {0}")]
    Linker(String),
    /// The cache's folder cannot be used.
    #[error("cannot use the cache folder {path}: {reason}")]
    Cache {
        /// The folder.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The guests' threads cannot be started.
    #[error("cannot start the threads that run guests: {0}")]
    Threads(std::io::Error),
}

/// Where components are compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compiler {
    /// In this process, for whoever runs only what is their own.
    InProcess,
    /// In a child process each, with `compile_memory` and `compile_time`: compiling a stranger's
    /// bytes is work without a bound, and a fault in the compiler ends only the child.
    Child {
        /// This program: what understands `compile-component`.
        program: PathBuf,
    },
    /// Files in this process, for an author who waits for them; what came with a request in a child.
    ChildForRequests {
        /// This program: what understands `compile-component`.
        program: PathBuf,
    },
}

/// Where a component comes from: whose earlier versions it may have compiled functions in common with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin<'a> {
    /// A file that the operator named.
    File(&'a Path),
    /// What the data folder keeps.
    Kept,
    /// Somebody's request.
    Request {
        /// Whose: tenant and key.
        by: &'a str,
        /// For which agent.
        agent: &'a str,
    },
}

impl Origin<'_> {
    /// Whose functions a child's are that compiled it, if anybody's.
    fn lineage(self) -> Option<cache::Lineage> {
        let name = match self {
            Self::File(path) => [b"file\0", path.as_os_str().as_encoded_bytes()].concat(),
            Self::Kept => return None,
            // Neither has a zero in it.
            Self::Request { by, agent } => ["request\0", by, "\0", agent].concat().into_bytes(),
        };
        Some(cache::Lineage::Of(Digest::of(&name)))
    }
}

impl Compiler {
    /// The program that compiles what comes from `origin`; `None` for this process.
    fn child_for(&self, origin: Origin<'_>) -> Option<&Path> {
        match (self, origin) {
            (Self::InProcess, _) | (Self::ChildForRequests { .. }, Origin::File(_) | Origin::Kept) => None,
            (Self::Child { program }, _) | (Self::ChildForRequests { program }, Origin::Request { .. }) => {
                Some(program)
            }
        }
    }
}

/// The settings, with as much compiling at once as the machine has memory for.
fn fitting(config: &EngineConfig, compiler: &Compiler) -> EngineConfig {
    // In this process nothing bounds the memory.
    if *compiler == Compiler::InProcess {
        return config.clone();
    }
    if !fence::is_available() {
        tracing::warn!(
            "this system cannot keep the compiler's process from files and the network (it takes seccomp on Linux, x86-64 or aarch64); its limits of memory and time hold"
        );
    }
    // Where the system does not tell, the settings are believed.
    let Some(machine) = memory() else { return config.clone() };
    let fitting = within(config, machine);
    if fitting != *config {
        tracing::warn!(
            machine,
            compile_jobs = fitting.compile_jobs,
            compile_memory = fitting.compile_memory,
            "compiling is kept to half of the machine's memory, which is less than `compile_jobs` times `compile_memory` in [engine]"
        );
    }
    fitting
}

/// The memory of the machine, or of the group of processes that this one is confined to, in bytes.
fn memory() -> Option<u64> {
    let mut system = sysinfo::System::new().ok()?;
    system.refresh_memory();
    let all = system.total_memory();
    Some(system.cgroup_limits().map_or(all, |group| group.total_memory.min(all)))
}

/// As many jobs as half of `machine`'s memory has room for; a single one with what room there is.
fn within(config: &EngineConfig, machine: u64) -> EngineConfig {
    let room = machine / 2;
    let memory = config.compile_memory.min(room.max(LEAST_COMPILE_MEMORY));
    let jobs = u32::try_from(room / memory.max(1)).unwrap_or(u32::MAX);
    EngineConfig {
        compile_memory: memory,
        compile_jobs: config.compile_jobs.min(jobs).max(1),
        ..config.clone()
    }
}

/// What compiling takes at the least, whatever the machine has.
const LEAST_COMPILE_MEMORY: u64 = 256 << 20;

/// Compiles components and runs them. Shared by everything that runs guests.
pub struct Engine {
    wasmtime: wasmtime::Engine,
    linker: Linker<CallState>,
    cache: Option<Cache>,
    compiler: Compiler,
    compiling: Arc<Semaphore>,
    trials: Arc<Semaphore>,
    /// Strangers' schemas that are built or evaluated at once.
    aside: Arc<Semaphore>,
    threads: GuestThreads,
    services: Arc<Services>,
    config: EngineConfig,
}

impl Engine {
    /// Reserves the pool and starts the guests' threads. Compiled code is kept below
    /// `data_dir`, if there is one, and made by `compiler`. Timers and blocking work of guests go to `runtime`.
    ///
    /// # Errors
    /// [`EngineError`] says which part could not be had; there is no silent fallback.
    pub fn new(
        config: &EngineConfig,
        data_dir: Option<&Path>,
        compiler: Compiler,
        services: Arc<Services>,
        runtime: tokio::runtime::Handle,
    ) -> Result<Self, EngineError> {
        let config = fitting(config, &compiler);
        let wasmtime =
            wasmtime::Engine::new(&settings::running(&config)).map_err(|error| EngineError::Pool {
                instances: config.max_instances,
                memory: config.max_memory,
                reason: format!("{error:#}"),
            })?;
        let mut linker = Linker::new(&wasmtime);
        capabilities::add_to_linker(&mut linker)
            .map_err(|error| EngineError::Linker(format!("{error:#}")))?;
        let cache = match data_dir.filter(|_| config.cache) {
            Some(folder) => Some(Cache::open(folder, &wasmtime, config.cache_size)?),
            None => None,
        };
        Ok(Self {
            linker,
            cache,
            compiler,
            compiling: Arc::new(Semaphore::new(config.compile_jobs.max(1) as usize)),
            trials: Arc::new(Semaphore::new(config.trial_instances.max(1) as usize)),
            aside: Arc::new(Semaphore::new(aside::places())),
            threads: GuestThreads::start(config.guest_threads, runtime).map_err(EngineError::Threads)?,
            wasmtime,
            services,
            config,
        })
    }

    /// Runs a future that polls guests on the guests' own threads. Dropping the task cancels
    /// and drops the future there.
    pub fn spawn<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> GuestTask<T> {
        self.spawn_timed(future, Arc::default())
    }

    /// The same, and `clock` shows how the future's turns go.
    pub fn spawn_timed<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
        clock: Arc<RunClock>,
    ) -> GuestTask<T> {
        self.threads.spawn(future, clock)
    }

    /// The same for a future whose guest is known to be short ([`Pace::is_short`]): where nobody waits for a
    /// turn and another thread of the runtime is left, it has its first turn before this returns.
    pub fn begin_timed<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
        clock: Arc<RunClock>,
    ) -> GuestTask<T> {
        self.threads.begin(future, clock)
    }

    /// How many calls had their first turns on the threads that accepted them, since the start.
    pub fn inline_turns(&self) -> u64 {
        self.threads.inline_turns()
    }

    /// The settings that the engine was made with.
    pub fn config(&self) -> &EngineConfig {
        &self.config
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn compiling_all_at_once_takes_half_of_the_memory_at_most() {
        const GIB: u64 = 1 << 30;
        let config = EngineConfig {
            compile_jobs: 4,
            compile_memory: 2 * GIB,
            ..Config::defaults(Path::new("/")).engine
        };
        for (machine, jobs, memory) in [(64, 4, 2), (16, 4, 2), (15, 3, 2), (8, 2, 2), (4, 1, 2), (2, 1, 1)] {
            let fitting = within(&config, machine * GIB);
            assert_eq!((fitting.compile_jobs, fitting.compile_memory), (jobs, memory * GIB), "{machine} GiB");
        }
        assert_eq!(within(&config, 0).compile_memory, LEAST_COMPILE_MEMORY);
        assert!(memory() > Some(0));
    }
}
