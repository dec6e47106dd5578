//! Figures about the machine that Stockade runs on. An agent that uses any needs the grant `system`.
//!
//! Owns no state: each call asks the host. A refusal arrives as [`Error::Denied`], which `?` turns
//! into the answer 403; nothing traps.

pub use crate::bindings::stockade::system::system::{
    Cpu, Disk, Error, Load, Machine, Memory, Network, Order, Process, get_cpu, get_load, get_machine,
    get_memory, list_disks, list_networks, list_processes,
};
