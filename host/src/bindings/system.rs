//! `stockade:system`: figures in the shapes of its WIT versions.

use super::v0_1::stockade::system::system as v0_1;
use crate::domain::system::{Cpu, Disk, Load, Machine, Memory, Network, Process, ProcessOrder};

impl From<Machine> for v0_1::Machine {
    fn from(machine: Machine) -> Self {
        let Machine { hostname, os, kernel, architecture, uptime_seconds } = machine;
        Self { hostname, os, kernel, architecture, uptime_seconds }
    }
}

impl From<Cpu> for v0_1::Cpu {
    fn from(cpu: Cpu) -> Self {
        let Cpu { usage_percent, per_core_percent, model } = cpu;
        Self { usage_percent, per_core_percent, model }
    }
}

impl From<Load> for v0_1::Load {
    fn from(load: Load) -> Self {
        let Load { one, five, fifteen } = load;
        Self { one, five, fifteen }
    }
}

impl From<Memory> for v0_1::Memory {
    fn from(memory: Memory) -> Self {
        let Memory { total, available, swap_total, swap_used } = memory;
        Self { total, used: total.saturating_sub(available), available, swap_total, swap_used }
    }
}

impl From<Disk> for v0_1::Disk {
    fn from(disk: Disk) -> Self {
        let Disk { mount_point, device, file_system, total, available } = disk;
        Self { mount_point, device, file_system, total, available }
    }
}

impl From<Network> for v0_1::Network {
    fn from(network: Network) -> Self {
        let Network { name, received_bytes, sent_bytes, receive_errors, send_errors } = network;
        Self { name, received_bytes, sent_bytes, receive_errors, send_errors }
    }
}

impl From<Process> for v0_1::Process {
    fn from(process: Process) -> Self {
        let Process { pid, name, cpu_percent, memory_bytes } = process;
        Self { pid, name, cpu_percent, memory_bytes }
    }
}

impl From<v0_1::Order> for ProcessOrder {
    fn from(order: v0_1::Order) -> Self {
        match order {
            v0_1::Order::Cpu => Self::Cpu,
            v0_1::Order::Memory => Self::Memory,
        }
    }
}
