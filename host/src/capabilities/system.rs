//! `stockade:system`: figures about a machine. Gated as `system`.
//!
//! Grants decide first, whatever the figures' source; every answer is charged. Where figures come
//! from is [`SystemSource`]: this machine, or what the author of a test says.

mod canned;
mod machine;

use std::sync::Arc;

use super::CallState;
use crate::bindings::v0_1::stockade::system::system::{
    Cpu, Disk, Error, Host, Load, Machine, Memory, Network, Order, Process,
};
use crate::config::cases::Figures;
use machine::ThisMachine;

/// The most processes that are listed.
const MAX_PROCESSES: usize = 100;
/// Fuel for reading figures from the operating system.
const READING_FUEL: u64 = 100_000;
/// Fuel for reading every process's.
const PROCESSES_FUEL: u64 = 2_000_000;

/// Where `stockade:system` reads.
#[derive(Debug)]
pub struct SystemSource(Source);

#[derive(Debug)]
enum Source {
    Machine(ThisMachine),
    Canned(Box<Figures>),
}

impl Default for SystemSource {
    /// This machine.
    fn default() -> Self {
        Self(Source::Machine(ThisMachine::default()))
    }
}

impl SystemSource {
    /// These figures, whatever machine this is. One that is not among them is unavailable.
    pub fn canned(figures: Figures) -> Self {
        Self(Source::Canned(Box::new(figures)))
    }

    async fn machine(&self) -> Result<Machine, Error> {
        match &self.0 {
            Source::Machine(machine) => machine.machine().await,
            Source::Canned(figures) => canned::machine(figures),
        }
    }

    async fn cpu(&self) -> Result<Cpu, Error> {
        match &self.0 {
            Source::Machine(machine) => machine.cpu().await,
            Source::Canned(figures) => canned::cpu(figures),
        }
    }

    async fn load(&self) -> Result<Load, Error> {
        match &self.0 {
            Source::Machine(machine) => machine.load().await,
            Source::Canned(figures) => canned::load(figures),
        }
    }

    async fn memory(&self) -> Result<Memory, Error> {
        match &self.0 {
            Source::Machine(machine) => machine.memory().await,
            Source::Canned(figures) => canned::memory(figures),
        }
    }

    async fn disks(&self) -> Result<Vec<Disk>, Error> {
        match &self.0 {
            Source::Machine(machine) => machine.disks().await,
            Source::Canned(figures) => canned::disks(figures),
        }
    }

    async fn networks(&self) -> Result<Vec<Network>, Error> {
        match &self.0 {
            Source::Machine(machine) => machine.networks().await,
            Source::Canned(figures) => canned::networks(figures),
        }
    }

    async fn processes(&self, order: Order, limit: u32) -> Result<Vec<Process>, Error> {
        match &self.0 {
            Source::Machine(machine) => machine.processes(order, limit).await,
            Source::Canned(figures) => canned::processes(figures, order, limit),
        }
    }
}

/// At most `limit` of these processes, largest first.
fn largest(mut all: Vec<Process>, order: Order, limit: u32) -> Vec<Process> {
    all.sort_by(|a, b| {
        let by_size = match order {
            Order::Cpu => b.cpu_percent.total_cmp(&a.cpu_percent),
            Order::Memory => b.memory_bytes.cmp(&a.memory_bytes),
        };
        by_size.then(a.pid.cmp(&b.pid))
    });
    all.truncate(MAX_PROCESSES.min(limit as usize));
    all
}

impl CallState {
    /// The source of figures, for a reading that costs so much fuel.
    fn system(&mut self, fuel: u64) -> wasmtime::Result<Result<Arc<super::Services>, Error>> {
        self.meter.charge_call(0)?;
        self.meter.owe(fuel);
        let services = self.services.clone();
        Ok(self.allowed("system").map(|()| services).map_err(Error::Denied))
    }

    /// Charges an answer of about `bytes` and passes it on.
    fn charged<T>(
        &mut self,
        answer: Result<T, Error>,
        bytes: impl FnOnce(&T) -> usize,
    ) -> wasmtime::Result<Result<T, Error>> {
        if let Ok(value) = &answer {
            self.meter.charge_bytes(bytes(value))?;
        }
        Ok(answer)
    }
}

impl Host for CallState {
    async fn get_machine(&mut self) -> wasmtime::Result<Result<Machine, Error>> {
        let answer = match self.system(READING_FUEL)? {
            Ok(services) => services.system.machine().await,
            Err(error) => Err(error),
        };
        self.charged(answer, |machine| 64 + machine.os.len() + machine.hostname.len())
    }

    async fn get_cpu(&mut self) -> wasmtime::Result<Result<Cpu, Error>> {
        let answer = match self.system(READING_FUEL)? {
            Ok(services) => services.system.cpu().await,
            Err(error) => Err(error),
        };
        self.charged(answer, |cpu| 16 + cpu.model.len() + 8 * cpu.per_core_percent.len())
    }

    async fn get_load(&mut self) -> wasmtime::Result<Result<Load, Error>> {
        let answer = match self.system(READING_FUEL)? {
            Ok(services) => services.system.load().await,
            Err(error) => Err(error),
        };
        self.charged(answer, |_| 24)
    }

    async fn get_memory(&mut self) -> wasmtime::Result<Result<Memory, Error>> {
        let answer = match self.system(READING_FUEL)? {
            Ok(services) => services.system.memory().await,
            Err(error) => Err(error),
        };
        self.charged(answer, |_| 40)
    }

    async fn list_disks(&mut self) -> wasmtime::Result<Result<Vec<Disk>, Error>> {
        let answer = match self.system(READING_FUEL)? {
            Ok(services) => services.system.disks().await,
            Err(error) => Err(error),
        };
        self.charged(answer, |disks| disks.len() * 96)
    }

    async fn list_networks(&mut self) -> wasmtime::Result<Result<Vec<Network>, Error>> {
        let answer = match self.system(READING_FUEL)? {
            Ok(services) => services.system.networks().await,
            Err(error) => Err(error),
        };
        self.charged(answer, |networks| networks.len() * 64)
    }

    async fn list_processes(
        &mut self,
        order: Order,
        limit: u32,
    ) -> wasmtime::Result<Result<Vec<Process>, Error>> {
        let answer = match self.system(PROCESSES_FUEL)? {
            Ok(services) => services.system.processes(order, limit).await,
            Err(error) => Err(error),
        };
        self.charged(answer, |processes| processes.len() * 64)
    }
}
