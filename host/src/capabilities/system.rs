//! `stockade:system`: figures about a machine. Gated as `system`, one kind of figures a function.
//!
//! Grants decide first, whatever the backend; every answer is charged. The backend is a [`SystemInfo`]: this
//! machine, or what the author of a test says.

mod canned;
mod machine;

use async_trait::async_trait;
use futures_util::future::BoxFuture;

use super::CallState;
use super::gate::{GatedCall, Refused};
use crate::bindings::v0_1::stockade::system::system as given;
use crate::domain::Policy;
use crate::domain::system::{
    Cpu, Disk, Figure, Load, Machine, Memory, Network, Process, ProcessOrder, SystemPolicy,
};
pub use machine::ThisMachine;

/// The most processes that are listed.
const MAX_PROCESSES: usize = 100;
/// Fuel for reading figures from the operating system.
const READING_FUEL: u64 = 100_000;
/// Fuel for reading every process's.
const PROCESSES_FUEL: u64 = 2_000_000;

/// A figure that is not there, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

/// Where figures about a machine come from.
#[async_trait]
pub trait SystemInfo: std::fmt::Debug + Send + Sync {
    /// What the machine is.
    async fn machine(&self) -> Result<Machine, Unavailable>;
    /// How busy its processors are.
    async fn cpu(&self) -> Result<Cpu, Unavailable>;
    /// Its load averages.
    async fn load(&self) -> Result<Load, Unavailable>;
    /// Its memory.
    async fn memory(&self) -> Result<Memory, Unavailable>;
    /// Its file systems.
    async fn disks(&self) -> Result<Vec<Disk>, Unavailable>;
    /// Its network interfaces.
    async fn networks(&self) -> Result<Vec<Network>, Unavailable>;
    /// At most `limit` of its processes, largest first.
    async fn processes(&self, order: ProcessOrder, limit: usize) -> Result<Vec<Process>, Unavailable>;
}

/// At most `limit` of these processes, largest first.
fn largest(mut all: Vec<Process>, order: ProcessOrder, limit: usize) -> Vec<Process> {
    all.sort_by(|a, b| {
        let by_size = match order {
            ProcessOrder::Cpu => b.cpu_percent.total_cmp(&a.cpu_percent),
            ProcessOrder::Memory => b.memory_bytes.cmp(&a.memory_bytes),
        };
        by_size.then(a.pid.cmp(&b.pid))
    });
    all.truncate(limit);
    all
}

/// What a function of the interface answers.
type Answer<T> = wasmtime::Result<Result<T, given::Error>>;

impl CallState {
    /// Answers with figures of one kind, which pass as about `size` bytes.
    async fn figures<T>(
        &mut self,
        figure: Figure,
        read: impl for<'s> FnOnce(&'s dyn SystemInfo) -> BoxFuture<'s, Result<T, Unavailable>>,
        size: impl FnOnce(&T) -> usize,
    ) -> Answer<T> {
        let fuel = if figure == Figure::Processes { PROCESSES_FUEL } else { READING_FUEL };
        let needs = Policy::System(SystemPolicy::only(figure));
        let call = GatedCall { needs, given: 0, fuel };
        let answer = self.gated(call, |services| read(&*services.system), size).await?;
        Ok(answer.map_err(|refused| match refused {
            Refused::Denied(message) => given::Error::Denied(message),
            Refused::Failed(Unavailable(reason)) => given::Error::Unavailable(reason),
        }))
    }

    /// The same for lists, each item as about `size` bytes.
    async fn listed<T, G: From<T>>(
        &mut self,
        figure: Figure,
        read: impl for<'s> FnOnce(&'s dyn SystemInfo) -> BoxFuture<'s, Result<Vec<T>, Unavailable>>,
        size: usize,
    ) -> Answer<Vec<G>> {
        let all = self.figures(figure, read, |items| items.len() * size).await?;
        Ok(all.map(|items| items.into_iter().map(G::from).collect()))
    }
}

impl given::Host for CallState {
    async fn get_machine(&mut self) -> Answer<given::Machine> {
        let size = |machine: &Machine| 64 + machine.os.len() + machine.hostname.len();
        Ok(self.figures(Figure::Machine, |system| system.machine(), size).await?.map(Into::into))
    }

    async fn get_cpu(&mut self) -> Answer<given::Cpu> {
        let size = |cpu: &Cpu| 16 + cpu.model.len() + 8 * cpu.per_core_percent.len();
        Ok(self.figures(Figure::Cpu, |system| system.cpu(), size).await?.map(Into::into))
    }

    async fn get_load(&mut self) -> Answer<given::Load> {
        Ok(self.figures(Figure::Load, |system| system.load(), |_| 24).await?.map(Into::into))
    }

    async fn get_memory(&mut self) -> Answer<given::Memory> {
        Ok(self.figures(Figure::Memory, |system| system.memory(), |_| 40).await?.map(Into::into))
    }

    async fn list_disks(&mut self) -> Answer<Vec<given::Disk>> {
        self.listed(Figure::Disks, |system| system.disks(), 96).await
    }

    async fn list_networks(&mut self) -> Answer<Vec<given::Network>> {
        self.listed(Figure::Networks, |system| system.networks(), 64).await
    }

    async fn list_processes(&mut self, order: given::Order, limit: u32) -> Answer<Vec<given::Process>> {
        let limit = MAX_PROCESSES.min(limit as usize);
        self.listed(Figure::Processes, |system| system.processes(order.into(), limit), 64).await
    }
}
