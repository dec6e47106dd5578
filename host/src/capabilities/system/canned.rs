//! Figures that a test says, in the shapes of `stockade:system`. Pure.

use super::largest;
use crate::bindings::v0_1::stockade::system::system as given;
use crate::config::cases::{Figure, Figures};

use given::Error;

/// One figure of a case, or why there is none.
fn figure<'f, T>(figure: Option<&'f Figure<T>>, name: &str) -> Result<&'f T, Error> {
    match figure {
        Some(Figure::Given(value)) => Ok(value),
        Some(Figure::Unavailable) => Err(Error::Unavailable(format!("the test has no `{name}`"))),
        None => Err(Error::Unavailable(format!("this case gives no `{name}` under [case.system]"))),
    }
}

pub(super) fn machine(figures: &Figures) -> Result<given::Machine, Error> {
    let machine = figure(figures.machine.as_ref(), "machine")?.clone();
    Ok(given::Machine {
        hostname: machine.hostname,
        os: machine.os,
        kernel: machine.kernel,
        architecture: machine.architecture,
        uptime_seconds: machine.uptime_seconds,
    })
}

pub(super) fn cpu(figures: &Figures) -> Result<given::Cpu, Error> {
    let cpu = figure(figures.cpu.as_ref(), "cpu")?.clone();
    Ok(given::Cpu {
        usage_percent: cpu.usage_percent,
        per_core_percent: cpu.per_core_percent,
        model: cpu.model,
    })
}

pub(super) fn load(figures: &Figures) -> Result<given::Load, Error> {
    let load = figure(figures.load.as_ref(), "load")?;
    Ok(given::Load { one: load.one, five: load.five, fifteen: load.fifteen })
}

pub(super) fn memory(figures: &Figures) -> Result<given::Memory, Error> {
    let memory = figure(figures.memory.as_ref(), "memory")?;
    Ok(given::Memory {
        total: memory.total,
        used: memory.total.saturating_sub(memory.available),
        available: memory.available,
        swap_total: memory.swap_total,
        swap_used: memory.swap_used,
    })
}

pub(super) fn disks(figures: &Figures) -> Result<Vec<given::Disk>, Error> {
    let disks = figure(figures.disks.as_ref(), "disks")?;
    let disk = |disk: &crate::config::cases::Disk| given::Disk {
        mount_point: disk.mount_point.clone(),
        device: disk.device.clone(),
        file_system: disk.file_system.clone(),
        total: disk.total,
        available: disk.available,
    };
    Ok(disks.iter().map(disk).collect())
}

pub(super) fn networks(figures: &Figures) -> Result<Vec<given::Network>, Error> {
    let networks = figure(figures.networks.as_ref(), "networks")?;
    let network = |network: &crate::config::cases::Network| given::Network {
        name: network.name.clone(),
        received_bytes: network.received_bytes,
        sent_bytes: network.sent_bytes,
        receive_errors: network.receive_errors,
        send_errors: network.send_errors,
    };
    Ok(networks.iter().map(network).collect())
}

pub(super) fn processes(
    figures: &Figures,
    order: given::Order,
    limit: u32,
) -> Result<Vec<given::Process>, Error> {
    let processes = figure(figures.processes.as_ref(), "processes")?;
    let process = |process: &crate::config::cases::Process| given::Process {
        pid: process.pid,
        name: process.name.clone(),
        cpu_percent: process.cpu_percent,
        memory_bytes: process.memory_bytes,
    };
    Ok(largest(processes.iter().map(process).collect(), order, limit))
}
