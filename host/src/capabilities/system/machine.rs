//! This machine's figures, as the operating system gives them.
//!
//! Reading them blocks, so it happens on the blocking threads; processor use needs two samples
//! some time apart, which callers that come together share.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use sysinfo::{Disks, Networks, ProcessRefreshKind, ProcessesToUpdate, System};
use tokio::sync::{Mutex, OwnedMutexGuard, Semaphore};

use super::{SystemInfo, Unavailable, largest};
use crate::domain::system::{Cpu, Disk, Load, Machine, Memory, Network, Process, ProcessOrder};

/// The shortest span over which processor use means something.
const SAMPLE_SPAN: Duration = Duration::from_millis(250);
/// A sample older than this says little about now.
const SAMPLE_AGE: Duration = Duration::from_secs(5);
/// Threads that read figures at once.
const READERS: usize = 4;

/// Reads the machine; keeps the last processor sample.
#[derive(Debug)]
pub struct ThisMachine {
    sampler: Arc<Mutex<Sampler>>,
    readers: Arc<Semaphore>,
}

impl Default for ThisMachine {
    fn default() -> Self {
        Self { sampler: Arc::default(), readers: Arc::new(Semaphore::new(READERS)) }
    }
}

#[derive(Debug, Default)]
struct Sampler {
    /// Made at the first use.
    system: Option<System>,
    cpu: Taken,
    processes: Taken,
}

/// When a sample was taken, and whether it spans enough to say something.
#[derive(Debug, Default, Clone, Copy)]
struct Taken {
    at: Option<Instant>,
    measured: bool,
}

#[derive(Clone, Copy)]
enum Sample {
    Cpu,
    Processes,
}

#[async_trait]
impl SystemInfo for ThisMachine {
    async fn machine(&self) -> Result<Machine, Unavailable> {
        self.blocking(machine).await
    }

    async fn cpu(&self) -> Result<Cpu, Unavailable> {
        self.sampled(Sample::Cpu, cpu).await
    }

    async fn load(&self) -> Result<Load, Unavailable> {
        self.blocking(load).await
    }

    async fn memory(&self) -> Result<Memory, Unavailable> {
        self.blocking(memory).await
    }

    async fn disks(&self) -> Result<Vec<Disk>, Unavailable> {
        self.blocking(disks).await
    }

    async fn networks(&self) -> Result<Vec<Network>, Unavailable> {
        self.blocking(networks).await
    }

    async fn processes(&self, order: ProcessOrder, limit: usize) -> Result<Vec<Process>, Unavailable> {
        self.sampled(Sample::Processes, move |system| processes(system, order, limit)).await
    }
}

impl ThisMachine {
    /// Gives `read` a system whose `sample` spans at least [`SAMPLE_SPAN`] and is fresh.
    async fn sampled<T: Send + 'static>(
        &self,
        sample: Sample,
        read: impl FnOnce(&System) -> T + Send + 'static,
    ) -> Result<T, Unavailable> {
        let mut sampler = self.sampler.clone().lock_owned().await;
        let last = *sampler.taken(sample);
        let age = last.at.map(|at| at.elapsed());
        // Whoever waited here while another measured takes what that one found.
        if last.measured && age.is_some_and(|age| age < SAMPLE_SPAN) {
            let none = || Unavailable("there is no sample".to_owned());
            return sampler.system.as_ref().map(read).ok_or_else(none);
        }
        if age.is_none_or(|age| age > SAMPLE_AGE) {
            sampler = self.blocking(move || refresh(sampler, sample, Span::Begins)).await?;
            tokio::time::sleep(SAMPLE_SPAN).await;
        } else if let Some(rest) = age.and_then(|age| SAMPLE_SPAN.checked_sub(age)) {
            tokio::time::sleep(rest).await;
        }
        self.blocking(move || {
            let sampler = refresh(sampler, sample, Span::Ends)?;
            sampler.system.as_ref().map(read).ok_or(sysinfo::Error::Unsupported)
        })
        .await
    }

    /// Runs `read` where it may block, a few at once: a file system that hangs holds those and no
    /// other thread. What the operating system refuses is unavailable.
    async fn blocking<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> Result<T, sysinfo::Error> + Send + 'static,
    ) -> Result<T, Unavailable> {
        let lost = || Unavailable("reading the machine's figures failed".to_owned());
        let reader = self.readers.clone().acquire_owned().await.map_err(|_| lost())?;
        let reading = tokio::task::spawn_blocking(move || {
            let _reader = reader;
            read()
        });
        match reading.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(Unavailable(error.to_string())),
            Err(_) => Err(lost()),
        }
    }
}

/// Which end of a span a sample is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Span {
    Begins,
    Ends,
}

impl Sampler {
    fn taken(&mut self, sample: Sample) -> &mut Taken {
        match sample {
            Sample::Cpu => &mut self.cpu,
            Sample::Processes => &mut self.processes,
        }
    }
}

/// Takes a sample; hands the guard on, so that it can cross to the blocking threads.
fn refresh(
    mut sampler: OwnedMutexGuard<Sampler>,
    sample: Sample,
    span: Span,
) -> Result<OwnedMutexGuard<Sampler>, sysinfo::Error> {
    let mut system = match sampler.system.take() {
        Some(system) => system,
        None => System::new()?,
    };
    match sample {
        Sample::Cpu => system.refresh_cpu_all(),
        Sample::Processes => {
            let kind = ProcessRefreshKind::nothing().with_cpu().with_memory();
            system.refresh_processes_specifics(ProcessesToUpdate::All, true, kind);
        }
    }
    *sampler.taken(sample) = Taken { at: Some(Instant::now()), measured: span == Span::Ends };
    sampler.system = Some(system);
    Ok(sampler)
}

fn machine() -> Result<Machine, sysinfo::Error> {
    Ok(Machine {
        hostname: System::host_name().unwrap_or_default(),
        os: System::long_os_version().unwrap_or_default(),
        kernel: System::kernel_version().unwrap_or_default(),
        architecture: System::cpu_arch(),
        uptime_seconds: System::uptime()?,
    })
}

fn cpu(system: &System) -> Cpu {
    let cores = system.cpus();
    Cpu {
        usage_percent: f64::from(system.global_cpu_usage()),
        per_core_percent: cores.iter().map(|core| f64::from(core.usage())).collect(),
        model: cores.first().map(|core| core.brand().trim().to_owned()).unwrap_or_default(),
    }
}

fn load() -> Result<Load, sysinfo::Error> {
    let load = System::load_average()?;
    Ok(Load { one: load.one, five: load.five, fifteen: load.fifteen })
}

fn memory() -> Result<Memory, sysinfo::Error> {
    let mut system = System::new()?;
    system.refresh_memory();
    let (total, available) = (system.total_memory(), system.available_memory());
    Ok(Memory { total, available, swap_total: system.total_swap(), swap_used: system.used_swap() })
}

fn disks() -> Result<Vec<Disk>, sysinfo::Error> {
    let mut disks: Vec<_> = Disks::new_with_refreshed_list()?
        .iter()
        .filter(|disk| disk.total_space() > 0)
        .map(|disk| Disk {
            mount_point: disk.mount_point().to_string_lossy().into_owned(),
            device: disk.name().to_string_lossy().into_owned(),
            file_system: disk.file_system().to_string_lossy().into_owned(),
            total: disk.total_space(),
            available: disk.available_space(),
        })
        .collect();
    disks.sort_by(|a, b| a.mount_point.cmp(&b.mount_point));
    disks.dedup_by(|a, b| a.mount_point == b.mount_point);
    Ok(disks)
}

fn networks() -> Result<Vec<Network>, sysinfo::Error> {
    let mut networks: Vec<_> = Networks::new_with_refreshed_list()?
        .iter()
        .map(|(name, network)| Network {
            name: name.to_string_lossy().into_owned(),
            received_bytes: network.total_received(),
            sent_bytes: network.total_transmitted(),
            receive_errors: network.total_errors_on_received(),
            send_errors: network.total_errors_on_transmitted(),
        })
        .collect();
    networks.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(networks)
}

fn processes(system: &System, order: ProcessOrder, limit: usize) -> Vec<Process> {
    let all: Vec<_> = system
        .processes()
        .values()
        .filter(|process| process.thread_kind().is_none())
        .map(|process| Process {
            pid: process.pid().as_u32(),
            name: process.name().to_string_lossy().into_owned(),
            cpu_percent: f64::from(process.cpu_usage()),
            memory_bytes: process.memory(),
        })
        .collect();
    largest(all, order, limit)
}
