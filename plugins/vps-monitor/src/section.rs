//! How each kind of figures reads: a line or a few for people, JSON for programs, and warnings.
//!
//! Owns no state; pure. The names in the JSON are a promise to clients: add, never rename.

use stockade_sdk::{
    Value, json,
    system::{Cpu, Disk, Load, Machine, Memory, Network, Order, Process},
};

use crate::units::{bytes, percent, span, tenth};

/// The part of an answer that one topic gives.
#[derive(Debug)]
pub(crate) struct Section {
    /// The name of its figures in the data.
    pub(crate) key: &'static str,
    /// For people.
    pub(crate) lines: Vec<String>,
    /// For programs.
    pub(crate) data: Value,
    /// What is not as it should be, each as the rest of a sentence.
    pub(crate) warnings: Vec<String>,
}

/// From where on a figure is a warning.
#[derive(Debug)]
pub(crate) struct Thresholds {
    /// Processors, memory, swap and disks: percent in use.
    pub(crate) warn_percent: f64,
}

impl Thresholds {
    fn check(&self, what: &str, used_percent: f64) -> Option<String> {
        (used_percent > self.warn_percent).then(|| format!("{what} is {used_percent:.1}% in use"))
    }
}

/// How many disks and interfaces the text tells of; the data tells of all.
const LISTED: usize = 6;

pub(crate) fn cpu(cpu: &Cpu, thresholds: &Thresholds) -> Section {
    let usage = tenth(cpu.usage_percent);
    let cores: Vec<f64> = cpu.per_core_percent.iter().copied().map(tenth).collect();
    let busiest = cores.iter().copied().fold(0.0, f64::max);
    let line = match cores.len() {
        0 | 1 => format!("CPU: {usage:.1}% in use."),
        count => format!("CPU: {usage:.1}% in use across {count} cores, the busiest at {busiest:.1}%."),
    };
    Section {
        key: "cpu",
        lines: vec![line],
        data: json!({
            "usage_percent": usage,
            "per_core_percent": cores,
            "cores": cores.len(),
            "model": cpu.model,
        }),
        warnings: thresholds.check("the CPU", usage).into_iter().collect(),
    }
}

pub(crate) fn memory(memory: &Memory, thresholds: &Thresholds) -> Section {
    let used_percent = percent(memory.used, memory.total);
    let swap_percent = percent(memory.swap_used, memory.swap_total);
    let mut line = format!(
        "Memory: {} of {} in use ({used_percent:.1}%), {} available",
        bytes(memory.used),
        bytes(memory.total),
        bytes(memory.available)
    );
    line += &match memory.swap_total {
        0 => "; no swap.".to_owned(),
        total => format!("; swap: {} of {} in use.", bytes(memory.swap_used), bytes(total)),
    };
    Section {
        key: "memory",
        lines: vec![line],
        data: json!({
            "total_bytes": memory.total,
            "used_bytes": memory.used,
            "available_bytes": memory.available,
            "used_percent": used_percent,
            "swap_total_bytes": memory.swap_total,
            "swap_used_bytes": memory.swap_used,
            "swap_used_percent": swap_percent,
        }),
        warnings: [thresholds.check("memory", used_percent), thresholds.check("swap", swap_percent)]
            .into_iter()
            .flatten()
            .collect(),
    }
}

/// The disks, fullest first; where folders were named that are mount points, only those.
pub(crate) fn disks(mut disks: Vec<Disk>, paths: &[String], thresholds: &Thresholds) -> Section {
    if disks.iter().any(|disk| paths.contains(&disk.mount_point)) {
        disks.retain(|disk| paths.contains(&disk.mount_point));
    }
    let used = |disk: &Disk| disk.total.saturating_sub(disk.available);
    let share = |disk: &Disk| percent(used(disk), disk.total);
    disks.sort_by(|a, b| share(b).total_cmp(&share(a)).then_with(|| a.mount_point.cmp(&b.mount_point)));
    let mut lines: Vec<String> = disks
        .iter()
        .take(LISTED)
        .map(|disk| {
            format!(
                "Disk {}: {} of {} in use ({:.1}%), {} free.",
                disk.mount_point,
                bytes(used(disk)),
                bytes(disk.total),
                share(disk),
                bytes(disk.available)
            )
        })
        .collect();
    more(&mut lines, disks.len(), "disk");
    let figures: Vec<Value> = disks
        .iter()
        .map(|disk| {
            json!({
                "mount_point": disk.mount_point,
                "device": disk.device,
                "file_system": disk.file_system,
                "total_bytes": disk.total,
                "used_bytes": used(disk),
                "available_bytes": disk.available,
                "used_percent": share(disk),
            })
        })
        .collect();
    let warnings = disks
        .iter()
        .filter_map(|disk| thresholds.check(&format!("disk {}", disk.mount_point), share(disk)))
        .collect();
    Section { key: "disks", lines, data: json!(figures), warnings }
}

pub(crate) fn load(load: &Load) -> Section {
    let Load { one, five, fifteen } = *load;
    Section {
        key: "load",
        lines: vec![format!("Load: {one:.2} over 1 minute, {five:.2} over 5, {fifteen:.2} over 15.")],
        data: json!({ "one": one, "five": five, "fifteen": fifteen }),
        warnings: Vec::new(),
    }
}

/// The interfaces, most traffic first; the loopback is in the data only, unless there is no other.
pub(crate) fn network(networks: &[Network]) -> Section {
    let traffic = |network: &Network| network.received_bytes.saturating_add(network.sent_bytes);
    let mut outside: Vec<&Network> = networks.iter().filter(|network| network.name != "lo").collect();
    if outside.is_empty() {
        outside = networks.iter().collect();
    }
    outside.sort_by_key(|network| std::cmp::Reverse(traffic(network)));
    let mut lines: Vec<String> = outside
        .iter()
        .take(LISTED)
        .map(|network| {
            let errors = network.receive_errors.saturating_add(network.send_errors);
            format!(
                "Network {}: {} received and {} sent since the start{}.",
                network.name,
                bytes(network.received_bytes),
                bytes(network.sent_bytes),
                if errors == 0 { String::new() } else { format!(", {errors} errors") }
            )
        })
        .collect();
    more(&mut lines, outside.len(), "interface");
    let figures: Vec<Value> = networks
        .iter()
        .map(|network| {
            json!({
                "name": network.name,
                "received_bytes": network.received_bytes,
                "sent_bytes": network.sent_bytes,
                "receive_errors": network.receive_errors,
                "send_errors": network.send_errors,
            })
        })
        .collect();
    Section { key: "networks", lines, data: json!(figures), warnings: Vec::new() }
}

pub(crate) fn uptime(machine: &Machine) -> Section {
    Section {
        key: "uptime",
        lines: vec![format!(
            "Uptime: {} has been up for {}.",
            machine.hostname,
            span(machine.uptime_seconds)
        )],
        data: json!({ "seconds": machine.uptime_seconds, "hostname": machine.hostname }),
        warnings: Vec::new(),
    }
}

pub(crate) fn machine(machine: &Machine) -> Section {
    let Machine { hostname, os, kernel, architecture, uptime_seconds } = machine;
    Section {
        key: "machine",
        lines: vec![format!("Machine: {hostname} runs {os}, kernel {kernel}, on {architecture}.")],
        data: json!({
            "hostname": hostname,
            "os": os,
            "kernel": kernel,
            "architecture": architecture,
            "uptime_seconds": uptime_seconds,
        }),
        warnings: Vec::new(),
    }
}

pub(crate) fn processes(mut processes: Vec<Process>, order: Order) -> Section {
    let by = match order {
        Order::Cpu => {
            processes.sort_by(|a, b| b.cpu_percent.total_cmp(&a.cpu_percent));
            "cpu"
        }
        Order::Memory => {
            processes.sort_by_key(|process| std::cmp::Reverse(process.memory_bytes));
            "memory"
        }
    };
    let title = if by == "cpu" { "CPU" } else { by };
    let mut lines = vec![format!("Largest processes by {title}:")];
    lines.extend(processes.iter().enumerate().map(|(place, process)| {
        let Process { pid, name, cpu_percent, memory_bytes } = process;
        format!("{}. {name} (pid {pid}): {cpu_percent:.1}% CPU, {}", place + 1, bytes(*memory_bytes))
    }));
    let figures: Vec<Value> = processes
        .iter()
        .map(|process| {
            json!({
                "pid": process.pid,
                "name": process.name,
                "cpu_percent": tenth(process.cpu_percent),
                "memory_bytes": process.memory_bytes,
            })
        })
        .collect();
    Section { key: "processes", lines, data: json!({ "by": by, "largest": figures }), warnings: Vec::new() }
}

fn more(lines: &mut Vec<String>, all: usize, what: &str) {
    match all {
        0 => lines.push(format!("No {what} is reported.")),
        all if all > LISTED => lines.push(format!("And {} more in the data.", all - LISTED)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THRESHOLDS: Thresholds = Thresholds { warn_percent: 90.0 };

    fn disk(mount_point: &str, available: u64) -> Disk {
        Disk {
            mount_point: mount_point.to_owned(),
            device: "/dev/vda".to_owned(),
            file_system: "ext4".to_owned(),
            total: 100 << 30,
            available: available << 30,
        }
    }

    #[test]
    fn a_processor_over_the_threshold_is_warned_of() {
        let busy = Cpu { usage_percent: 96.26, per_core_percent: vec![99.0, 93.52], model: String::new() };
        let section = cpu(&busy, &THRESHOLDS);
        assert_eq!(section.lines, ["CPU: 96.3% in use across 2 cores, the busiest at 99.0%."]);
        assert_eq!(section.warnings, ["the CPU is 96.3% in use"]);
        assert_eq!(section.data["per_core_percent"], json!([99.0, 93.5]));
    }

    #[test]
    fn disks_are_sorted_by_how_full_they_are_and_chosen_by_name() {
        let all = || vec![disk("/", 50), disk("/data", 3), disk("/var", 20)];
        let section = disks(all(), &[], &THRESHOLDS);
        assert!(
            section.lines[0].starts_with("Disk /data: 97.0 GiB of 100.0 GiB in use (97.0%), 3.0 GiB free.")
        );
        assert_eq!(section.warnings, ["disk /data is 97.0% in use"]);
        assert_eq!(disks(all(), &["/".to_owned()], &THRESHOLDS).lines.len(), 1);
        assert_eq!(disks(all(), &["/home".to_owned()], &THRESHOLDS).lines.len(), 3);
        assert_eq!(disks(Vec::new(), &[], &THRESHOLDS).lines, ["No disk is reported."]);
    }

    #[test]
    fn processes_are_sorted_by_what_was_asked() {
        let process =
            |pid, cpu_percent, memory_bytes| Process { pid, name: "p".to_owned(), cpu_percent, memory_bytes };
        let all = || vec![process(1, 5.0, 10 << 20), process(2, 1.0, 20 << 20)];
        assert!(processes(all(), Order::Cpu).lines[1].starts_with("1. p (pid 1): 5.0% CPU, 10.0 MiB"));
        assert!(processes(all(), Order::Memory).lines[1].starts_with("1. p (pid 2): 1.0% CPU, 20.0 MiB"));
    }

    #[test]
    fn the_loopback_is_told_of_only_where_there_is_nothing_else() {
        let network_named = |name: &str| Network {
            name: name.to_owned(),
            received_bytes: 2048,
            sent_bytes: 1024,
            receive_errors: 0,
            send_errors: 2,
        };
        let section = network(&[network_named("lo"), network_named("eth0")]);
        assert_eq!(
            section.lines,
            ["Network eth0: 2.0 KiB received and 1.0 KiB sent since the start, 2 errors."]
        );
        assert_eq!(network(&[network_named("lo")]).lines.len(), 1);
    }
}
