//! Figures that a test says, as a backend of `stockade:system`.

use async_trait::async_trait;

use super::{SystemInfo, Unavailable, largest};
use crate::config::cases::{CannedFigures, Given};
use crate::domain::system::{Cpu, Disk, Load, Machine, Memory, Network, Process, ProcessOrder};

/// One figure of a case, or why there is none.
fn given<T: Clone>(figure: Option<&Given<T>>, name: &str) -> Result<T, Unavailable> {
    match figure {
        Some(Given::Value(value)) => Ok(value.clone()),
        Some(Given::Unavailable) => Err(Unavailable(format!("the test has no `{name}`"))),
        None => Err(Unavailable(format!("this case gives no `{name}` under [case.system]"))),
    }
}

/// These figures, whatever machine this is. One that is not among them is unavailable.
#[async_trait]
impl SystemInfo for CannedFigures {
    async fn machine(&self) -> Result<Machine, Unavailable> {
        given(self.machine.as_ref(), "machine")
    }

    async fn cpu(&self) -> Result<Cpu, Unavailable> {
        given(self.cpu.as_ref(), "cpu")
    }

    async fn load(&self) -> Result<Load, Unavailable> {
        given(self.load.as_ref(), "load")
    }

    async fn memory(&self) -> Result<Memory, Unavailable> {
        given(self.memory.as_ref(), "memory")
    }

    async fn disks(&self) -> Result<Vec<Disk>, Unavailable> {
        given(self.disks.as_ref(), "disks")
    }

    async fn networks(&self) -> Result<Vec<Network>, Unavailable> {
        given(self.networks.as_ref(), "networks")
    }

    async fn processes(&self, order: ProcessOrder, limit: usize) -> Result<Vec<Process>, Unavailable> {
        Ok(largest(given(self.processes.as_ref(), "processes")?, order, limit))
    }
}
