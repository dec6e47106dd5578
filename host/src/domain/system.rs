//! Figures about a machine: their values, their kinds, and how much of them an agent is granted.
//!
//! What the names mean is in `wit/system`. Values are in no WIT version's types, so that a backend, or a
//! test, gives the same to each of them. Sizes in bytes. Pure.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// A kind of figures: what one function of `stockade:system` gives. In the order of their names.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Figure {
    /// How busy its processors are.
    Cpu,
    /// Its file systems.
    Disks,
    /// Its load averages.
    Load,
    /// What it is.
    Machine,
    /// Its memory.
    Memory,
    /// Its network interfaces.
    Networks,
    /// Its processes.
    Processes,
}

impl Figure {
    /// All of them, in the order of their names.
    pub const ALL: [Self; 7] =
        [Self::Cpu, Self::Disks, Self::Load, Self::Machine, Self::Memory, Self::Networks, Self::Processes];
    /// Their names, in the same order.
    pub const NAMES: &[&str] = &["cpu", "disks", "load", "machine", "memory", "networks", "processes"];

    /// Its name, as a policy has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Disks => "disks",
            Self::Load => "load",
            Self::Machine => "machine",
            Self::Memory => "memory",
            Self::Networks => "networks",
            Self::Processes => "processes",
        }
    }
}

/// How much of the capability `system` is granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SystemPolicy {
    /// Every kind of figures, those that are added later included.
    Everything,
    /// These kinds: at least one.
    Figures(BTreeSet<Figure>),
}

impl SystemPolicy {
    /// These kinds of figures; `None` if there are none.
    pub fn of(figures: impl IntoIterator<Item = Figure>) -> Option<Self> {
        let figures: BTreeSet<Figure> = figures.into_iter().collect();
        (!figures.is_empty()).then_some(Self::Figures(figures))
    }

    /// This kind alone: what a call that reads it needs.
    pub fn only(figure: Figure) -> Self {
        Self::Figures([figure].into())
    }

    pub(super) fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Everything, _) => true,
            // There may be more kinds one day.
            (Self::Figures(_), Self::Everything) => false,
            (Self::Figures(own), Self::Figures(other)) => own.is_superset(other),
        }
    }

    pub(super) fn both(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Everything, policy) | (policy, Self::Everything) => Some(policy.clone()),
            (Self::Figures(own), Self::Figures(other)) => Self::of(own.intersection(other).copied()),
        }
    }

    pub(super) fn with(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Everything, _) | (_, Self::Everything) => Self::Everything,
            (Self::Figures(own), Self::Figures(other)) => Self::Figures(own.union(other).copied().collect()),
        }
    }
}

/// What the machine is.
#[derive(Debug, Clone, PartialEq)]
pub struct Machine {
    /// Its name on its network.
    pub hostname: String,
    /// Its operating system with the version.
    pub os: String,
    /// The kernel's version.
    pub kernel: String,
    /// The processor's architecture.
    pub architecture: String,
    /// Since it started.
    pub uptime_seconds: u64,
}

/// How busy its processors are.
#[derive(Debug, Clone, PartialEq)]
pub struct Cpu {
    /// Of all processors, 0 to 100.
    pub usage_percent: f64,
    /// Of each logical processor.
    pub per_core_percent: Vec<f64>,
    /// The processor's name; may be empty.
    pub model: String,
}

/// Its load averages.
#[derive(Debug, Clone, PartialEq)]
pub struct Load {
    /// Over one minute.
    pub one: f64,
    /// Over five minutes.
    pub five: f64,
    /// Over fifteen minutes.
    pub fifteen: f64,
}

/// Its memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Memory {
    /// All there is.
    pub total: u64,
    /// What new work could have without swapping; at most `total`.
    pub available: u64,
    /// Swap space, all of it.
    pub swap_total: u64,
    /// Swap space in use.
    pub swap_used: u64,
}

/// One of its file systems.
#[derive(Debug, Clone, PartialEq)]
pub struct Disk {
    /// Where it is mounted.
    pub mount_point: String,
    /// The device behind it.
    pub device: String,
    /// Its kind, such as `ext4`.
    pub file_system: String,
    /// Its size.
    pub total: u64,
    /// What an ordinary user could still write.
    pub available: u64,
}

/// One of its network interfaces, since the machine started.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// Bytes received.
    pub received_bytes: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Packets that could not be received.
    pub receive_errors: u64,
    /// Packets that could not be sent.
    pub send_errors: u64,
}

/// One of its processes.
#[derive(Debug, Clone, PartialEq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// The name of its program.
    pub name: String,
    /// Of one processor; may exceed 100.
    pub cpu_percent: f64,
    /// What it holds.
    pub memory_bytes: u64,
}

/// What the largest processes are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessOrder {
    /// Processor use.
    Cpu,
    /// Memory.
    Memory,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_one_name() {
        let names: Vec<&str> = Figure::ALL.iter().map(|figure| figure.as_str()).collect();
        assert_eq!(names, Figure::NAMES);
        assert!(names.is_sorted() && Figure::ALL.is_sorted(), "policies are written in this order");
        for figure in Figure::ALL {
            assert_eq!(serde_json::to_value(figure).expect("JSON"), figure.as_str());
        }
    }
}
