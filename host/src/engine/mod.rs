//! The engine: component bytes in, sandboxed calls out.
//!
//! Owns wasmtime's engine and linker, the cache of compiled code and the threads on which all
//! guests are polled. Knows nothing of tenants, HTTP or agents.toml; limits and rights are
//! handed in with each call.

mod cache;
mod call;
mod child;
mod clock;
mod compile;
mod compiler;
mod component;
mod crossing;
mod describe;
mod frames;
mod lines;
mod output;
mod self_test;
mod settings;
mod threads;
mod trial;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::Semaphore;
use wasmtime::component::Linker;

pub(crate) use call::DATA_IS_NOT_JSON;
pub use call::{Invocation, Spent};
pub use clock::{Progress, RunClock};
pub use compiler::{Refusal, compile_here};
pub use component::{LinkedComponent, LoadError};
pub(crate) use describe::context_validator;
pub use describe::{DescribeError, Description, Example};
pub use self_test::{MAX_SELF_TESTS, SelfTestError};
pub use threads::GuestTask;
pub use trial::TrialError;

use crate::capabilities::{self, CallState, Services};
use crate::config::EngineConfig;
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

/// Where a component comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A file that the operator named.
    File,
    /// Somebody's request.
    Request,
}

impl Compiler {
    /// The program that compiles what comes from `origin`; `None` for this process.
    fn child_for(&self, origin: Origin) -> Option<&Path> {
        match (self, origin) {
            (Self::InProcess, _) | (Self::ChildForRequests { .. }, Origin::File) => None,
            (Self::Child { program }, _) | (Self::ChildForRequests { program }, Origin::Request) => {
                Some(program)
            }
        }
    }
}

/// Compiles components and runs them. Shared by everything that runs guests.
pub struct Engine {
    wasmtime: wasmtime::Engine,
    linker: Linker<CallState>,
    cache: Option<Cache>,
    compiler: Compiler,
    compiling: Arc<Semaphore>,
    trials: Arc<Semaphore>,
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
        let wasmtime =
            wasmtime::Engine::new(&settings::running(config)).map_err(|error| EngineError::Pool {
                instances: config.max_instances,
                memory: config.max_memory,
                reason: format!("{error:#}"),
            })?;
        let mut linker = Linker::new(&wasmtime);
        capabilities::add_to_linker(&mut linker)
            .map_err(|error| EngineError::Linker(format!("{error:#}")))?;
        let cache = match data_dir.filter(|_| config.cache) {
            Some(folder) => Some(Cache::open(folder, &wasmtime)?),
            None => None,
        };
        Ok(Self {
            linker,
            cache,
            compiler,
            compiling: Arc::new(Semaphore::new(config.compile_jobs.max(1) as usize)),
            trials: Arc::new(Semaphore::new(config.trial_instances.max(1) as usize)),
            threads: GuestThreads::start(config.guest_threads, runtime).map_err(EngineError::Threads)?,
            wasmtime,
            services,
            config: config.clone(),
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

    /// The settings that the engine was made with.
    pub fn config(&self) -> &EngineConfig {
        &self.config
    }
}
