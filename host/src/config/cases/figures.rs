//! The figures of a machine that a case makes up: what `stockade:system` gives instead of real ones.
//! Sizes in bytes; what the names mean is in `wit/system`.

use toml::de::DeValue;

use super::tables;
use crate::config::entry::{Entry, integer, type_name};
use crate::config::key::{Key, Kind, count, other, size};
use crate::config::report::Report;
use crate::config::section::Section;
use crate::domain::system::{Cpu, Disk, Load, Machine, Memory, Network, Process};

/// One figure of a case.
#[derive(Debug, Clone, PartialEq)]
pub enum Given<T> {
    /// What it is.
    Value(T),
    /// `"unavailable"`: the machine does not give it.
    Unavailable,
}

/// `[case.system]`. A figure that is not there is unavailable, too.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CannedFigures {
    /// `machine`
    pub machine: Option<Given<Machine>>,
    /// `cpu`
    pub cpu: Option<Given<Cpu>>,
    /// `load`
    pub load: Option<Given<Load>>,
    /// `memory`
    pub memory: Option<Given<Memory>>,
    /// `disks`
    pub disks: Option<Given<Vec<Disk>>>,
    /// `networks`
    pub networks: Option<Given<Vec<Network>>>,
    /// `processes`
    pub processes: Option<Given<Vec<Process>>>,
}

/// More than any machine has.
const MOST: u64 = 1 << 60;
const BYTES: Kind = size(0, MOST, 0);
const TEXT: Kind = Kind::Text { max_chars: 1_000 };
const PERCENT: Kind = other("a number of percent, 0 or more");

const KEYS: &[Key] = &[
    Key::new("machine", other("a table"), "what the machine is"),
    Key::new("cpu", other("a table"), "how busy its processors are"),
    Key::new("load", other("a table"), "its load averages"),
    Key::new("memory", other("a table"), "its memory"),
    Key::new("disks", other("a list of tables"), "its file systems"),
    Key::new("networks", other("a list of tables"), "its network interfaces"),
    Key::new("processes", other("a list of tables"), "its processes"),
];
const MACHINE: &[Key] = &[
    Key::new("hostname", TEXT, "its name"),
    Key::new("os", TEXT, "its operating system"),
    Key::new("kernel", TEXT, "its kernel's version"),
    Key::new("architecture", TEXT, "its processor's architecture"),
    Key::new("uptime_seconds", count(0, MOST, 0), "since it started"),
];
const CPU: &[Key] = &[
    Key::new("usage_percent", PERCENT, "of all processors"),
    Key::new("per_core_percent", other("a list of numbers"), "of each processor"),
    Key::new("model", TEXT, "the processor's name"),
];
const LOAD: &[Key] = &[
    Key::new("one", other("a number, 0 or more"), "over one minute"),
    Key::new("five", other("a number, 0 or more"), "over five minutes"),
    Key::new("fifteen", other("a number, 0 or more"), "over fifteen minutes"),
];
const MEMORY: &[Key] = &[
    Key::new("total", BYTES, "all there is"),
    Key::new("used", BYTES, "in use"),
    Key::new("available", BYTES, "what new work could have"),
    Key::new("swap_total", BYTES, "swap space"),
    Key::new("swap_used", BYTES, "swap space in use"),
];
const DISK: &[Key] = &[
    Key::new("mount_point", TEXT, "where it is mounted"),
    Key::new("device", TEXT, "the device behind it"),
    Key::new("file_system", TEXT, "its kind"),
    Key::new("total", BYTES, "its size"),
    Key::new("available", BYTES, "what could still be written"),
];
const NETWORK: &[Key] = &[
    Key::new("name", TEXT, "its name"),
    Key::new("received_bytes", BYTES, "received"),
    Key::new("sent_bytes", BYTES, "sent"),
    Key::new("receive_errors", count(0, MOST, 0), "packets not received"),
    Key::new("send_errors", count(0, MOST, 0), "packets not sent"),
];
const PROCESS: &[Key] = &[
    Key::new("pid", count(0, 4_294_967_295, 1), "its number"),
    Key::new("name", TEXT, "its program"),
    Key::new("cpu_percent", PERCENT, "of one processor"),
    Key::new("memory_bytes", BYTES, "what it holds"),
];

/// Reads the table of figures at `name`.
pub(super) fn read(report: &mut Report<'_>, case: &Section<'_, '_>, name: &str) -> CannedFigures {
    let section = case.table(report, name, KEYS);
    CannedFigures {
        machine: table(report, &section, "machine", MACHINE, |report, machine| {
            Some(Machine {
                hostname: text(report, machine, "hostname", "test"),
                os: text(report, machine, "os", "Linux"),
                kernel: text(report, machine, "kernel", "6.12"),
                architecture: text(report, machine, "architecture", "x86_64"),
                uptime_seconds: machine.number(report, "uptime_seconds"),
            })
        }),
        cpu: table(report, &section, "cpu", CPU, cpu),
        load: table(report, &section, "load", LOAD, |report, load| {
            let one = required(report, load, "one").and_then(|entry| amount(report, &entry))?;
            let rest = |report: &mut Report<'_>, name| {
                load.get(name).and_then(|entry| amount(report, &entry)).unwrap_or(one)
            };
            Some(Load { one, five: rest(report, "five"), fifteen: rest(report, "fifteen") })
        }),
        memory: table(report, &section, "memory", MEMORY, memory),
        disks: list(report, &section, "disks", DISK, |report, disk, _| {
            let total = required(report, disk, "total").and_then(|entry| entry.number(report));
            let available = required(report, disk, "available").and_then(|entry| entry.number(report));
            Some(Disk {
                mount_point: text(report, disk, "mount_point", "/"),
                device: text(report, disk, "device", "/dev/vda1"),
                file_system: text(report, disk, "file_system", "ext4"),
                total: total?,
                available: available?,
            })
        }),
        networks: list(report, &section, "networks", NETWORK, |report, network, _| {
            Some(Network {
                name: text(report, network, "name", "eth0"),
                received_bytes: network.number(report, "received_bytes"),
                sent_bytes: network.number(report, "sent_bytes"),
                receive_errors: network.number(report, "receive_errors"),
                send_errors: network.number(report, "send_errors"),
            })
        }),
        processes: list(report, &section, "processes", PROCESS, |report, process, place| {
            let name = required(report, process, "name").and_then(|_| process.text(report, "name"));
            let pid = process.count_if_set(report, "pid");
            let cpu_percent = process.get("cpu_percent").and_then(|entry| amount(report, &entry));
            Some(Process {
                name: name?,
                pid: pid.unwrap_or_else(|| u32::try_from(place + 1).unwrap_or(u32::MAX)),
                cpu_percent: cpu_percent.unwrap_or_default(),
                memory_bytes: process.number(report, "memory_bytes"),
            })
        }),
    }
}

fn cpu(report: &mut Report<'_>, cpu: &Section<'_, '_>) -> Option<Cpu> {
    let usage_percent = required(report, cpu, "usage_percent").and_then(|entry| amount(report, &entry));
    let model = text(report, cpu, "model", "Test CPU");
    let per_core_percent = match cpu.get("per_core_percent") {
        Some(entry) => amounts(report, &entry),
        None => usage_percent.map(|all| vec![all]),
    };
    Some(Cpu { usage_percent: usage_percent?, per_core_percent: per_core_percent?, model })
}

fn memory(report: &mut Report<'_>, memory: &Section<'_, '_>) -> Option<Memory> {
    let total = required(report, memory, "total").and_then(|entry| entry.number(report));
    let used = memory.number_if_set(report, "used");
    let available = memory.number_if_set(report, "available");
    let swap_total = memory.number(report, "swap_total");
    let swap_used = memory.number(report, "swap_used");
    let total = total?;
    let available = match (used, available) {
        (None, None) => {
            let message = format!("{} has neither `used` nor `available`", memory.title);
            let help = "add one of them: `total` is the sum of both".to_owned();
            report.wrong_in_context(memory.at.clone(), &memory.path_of("available"), message, help);
            return None;
        }
        (Some(used), None) => total.checked_sub(used),
        (None, Some(available)) => Some(available),
        (Some(used), Some(available)) => (used.checked_add(available) == Some(total)).then_some(available),
    };
    let Some(available) = available.filter(|available| *available <= total) else {
        let message = format!("{}: `used` and `available` do not make `total`", memory.title);
        let help = "`total` is the sum of both: give `total` and one of them".to_owned();
        report.wrong_in_context(memory.at.clone(), &memory.path, message, help);
        return None;
    };
    Some(Memory { total, available, swap_total, swap_used })
}

/// The figure at `name`: a table of these keys, or the word `unavailable`.
fn table<T>(
    report: &mut Report<'_>,
    figures: &Section<'_, '_>,
    name: &str,
    keys: &'static [Key],
    read: impl FnOnce(&mut Report<'_>, &Section<'_, '_>) -> Option<T>,
) -> Option<Given<T>> {
    let entry = figures.get(name)?;
    if is_unavailable(report, &entry)? {
        return Some(Given::Unavailable);
    }
    if !entry.value.get_ref().is_table() {
        entry.wrong_type(report);
        return None;
    }
    let section = figures.table(report, name, keys);
    read(report, &section).map(Given::Value)
}

/// The same, of a list of tables.
fn list<T>(
    report: &mut Report<'_>,
    figures: &Section<'_, '_>,
    name: &str,
    keys: &'static [Key],
    mut read: impl FnMut(&mut Report<'_>, &Section<'_, '_>, usize) -> Option<T>,
) -> Option<Given<Vec<T>>> {
    let entry = figures.get(name)?;
    if is_unavailable(report, &entry)? {
        return Some(Given::Unavailable);
    }
    let mut all = Vec::new();
    for (place, (path, at, table)) in tables(report, &entry)?.into_iter().enumerate() {
        let title = format!("[{path}]");
        let section = Section::of(report, title, path, at.span(), Some(table), keys);
        all.extend(read(report, &section, place));
    }
    Some(Given::Value(all))
}

/// Whether a figure is the word `unavailable`; `None` for any other text, which is reported.
fn is_unavailable(report: &mut Report<'_>, entry: &Entry<'_, '_>) -> Option<bool> {
    match entry.value.get_ref() {
        DeValue::String(_) => entry.word(report, &["unavailable"]).map(|_| true),
        _ => Some(false),
    }
}

fn required<'a, 'i>(
    report: &mut Report<'_>,
    section: &Section<'a, 'i>,
    name: &'static str,
) -> Option<Entry<'a, 'i>> {
    let entry = section.get(name);
    if entry.is_none() {
        let message = format!("{} has no `{name}`", section.title);
        report.wrong_in_context(section.at.clone(), &section.path_of(name), message, format!("add `{name}`"));
    }
    entry
}

fn text(report: &mut Report<'_>, section: &Section<'_, '_>, name: &str, otherwise: &str) -> String {
    section.text(report, name).unwrap_or_else(|| otherwise.to_owned())
}

/// A number of 0 or more.
fn amount(report: &mut Report<'_>, entry: &Entry<'_, '_>) -> Option<f64> {
    let amount = match entry.value.get_ref() {
        DeValue::Float(float) => float.as_str().replace('_', "").parse::<f64>().ok(),
        DeValue::Integer(_) => integer(entry.value).map(|number| number as f64),
        _ => {
            entry.wrong_type(report);
            return None;
        }
    };
    let amount = amount.filter(|amount| amount.is_finite() && *amount >= 0.0);
    if amount.is_none() {
        entry.wrong(report, "must be a number, 0 or more", None);
    }
    amount
}

fn amounts(report: &mut Report<'_>, entry: &Entry<'_, '_>) -> Option<Vec<f64>> {
    let DeValue::Array(items) = entry.value.get_ref() else {
        let message = format!("must be a list of numbers, not {}", type_name(entry.value.get_ref()));
        entry.wrong(report, &message, None);
        return None;
    };
    items.iter().map(|item| amount(report, &Entry { value: item, ..entry.clone() })).collect()
}
