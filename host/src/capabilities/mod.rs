//! What agents can reach: one file a capability, all listed here.
//!
//! State lives as long as what it belongs to: [`Services`] with the process, [`AgentRights`]
//! with an agent's version, [`CallState`] with one call. Nothing here knows the registry, the
//! scheduler or HTTP.

mod gate;
mod grants;
pub mod interfaces;
mod log;
mod meter;
mod poll;
mod random;
mod resolve;
mod settings;
mod system;

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use parking_lot::Mutex;
use wasmtime::component::{HasSelf, Linker, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

pub use log::{GuestLog, Line, Source};
pub use meter::{HostLimit, Meter};
pub use system::{SystemInfo, ThisMachine, Unavailable};

use crate::bindings::v0_1::{stockade, wasi};
use crate::config::Limits;
use crate::domain::{AgentId, CapabilityScope, Denial, Grants};

/// The backends that capabilities stand on. One for the process; a test has its own.
#[derive(Debug)]
pub struct Services {
    /// Where `stockade:system` reads.
    pub system: Arc<dyn SystemInfo>,
}

impl Default for Services {
    /// Those of a host that serves.
    fn default() -> Self {
        Self { system: Arc::new(ThisMachine::default()) }
    }
}

/// What an agent's version may reach.
#[derive(Debug)]
pub struct AgentRights {
    /// Whose rights these are.
    pub id: AgentId,
    /// The gated capabilities, as they take effect.
    pub grants: Grants,
    /// What `wasi:config` gives.
    pub config: BTreeMap<String, String>,
}

/// Everything that belongs to one call and dies with it.
pub struct CallState {
    wasi: WasiCtx,
    table: ResourceTable,
    /// Counters against limits.
    pub meter: Meter,
    /// What the guest logged.
    pub log: Arc<Mutex<GuestLog>>,
    /// What was refused, each once.
    pub denials: Vec<Denial>,
    /// Whether the guest runs on a thread that accepts calls: what takes long is not for there.
    pub inline: bool,
    agent: Arc<AgentRights>,
    caller: CapabilityScope,
    backends: gate::Backends,
}

impl CallState {
    /// The state of a call that is about to begin.
    pub fn new(
        services: Arc<Services>,
        agent: Arc<AgentRights>,
        caller: CapabilityScope,
        limits: &Limits,
    ) -> Self {
        let log = Arc::new(Mutex::new(GuestLog::new(limits.log, limits.host_bytes)));
        let stream = |source| log::LogStream::new(log.clone(), source);
        let wasi = WasiCtx::builder()
            .stdout(stream(Source::Stdout))
            .stderr(stream(Source::Stderr))
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .build();
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.handles as usize);
        let (meter, denials, inline) = (Meter::new(limits), Vec::new(), false);
        Self { wasi, table, meter, log, denials, inline, agent, caller, backends: services.into() }
    }

    /// Goes on where something long may be done: on the guests' threads.
    pub async fn leave_inline(&mut self) {
        if self.inline {
            next_turn().await;
            self.inline = false;
        }
    }

    /// Whose call this is.
    pub fn agent_id(&self) -> &AgentId {
        &self.agent.id
    }

    /// The fuel for what the host has done for the guest since this was asked last.
    pub fn take_owed(&mut self) -> u64 {
        self.meter.take_owed().saturating_add(self.log.lock().take_work())
    }
}

/// Ends the turn of the guest on whose behalf it is awaited; ready with its next one, which is on the guests'
/// threads.
pub fn next_turn() -> impl Future<Output = ()> + Send {
    let mut ended = false;
    poll_fn(move |context| {
        if ended {
            return Poll::Ready(());
        }
        ended = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
}

impl WasiView for CallState {
    /// Every function of the library comes by here, once a call.
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.meter.owe(meter::CALL_FUEL);
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// Links every capability and the ambient part of WASI.
///
/// # Errors
/// Only if two of them claim one name.
pub fn add_to_linker(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    random::add_to_linker(linker)?;
    poll::add_to_linker(linker)?;
    resolve::add_to_linker(linker)?;
    stockade::system::system::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    wasi::logging::logging::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    wasi::config::store::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    Ok(())
}
