//! Compiling in a process of its own: the child's side. It bounds itself before it reads a byte
//! of the component, compiles it, and ends.
//!
//! It has standard input and output, and what it knows of the host is its [`Order`]. It opens the files of compiled functions that
//! the order names, to read them; then, and before it reads any of them, it takes from itself
//! files, the network and other processes: `fence.rs`. How it ends is told by its exit code or the signal
//! that ended it; with the code of a failure comes a [`Refusal`], the last line of standard error.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::process::{Pid, Resource, Rlimit, Signal};
use serde::{Deserialize, Serialize};

use super::incremental::Known;
use super::output::{self, Failed};
use super::{cache, fence, meaning};

/// How much lower than the host's the child's priority is: a spinning guest gets thrice its
/// share of a processor, and no more.
const NICE: i32 = 5;

/// What the host tells the child.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    /// The component's size.
    pub(super) bytes: usize,
    /// Functions that earlier versions of the component left.
    pub(super) own_functions: Option<PathBuf>,
    /// Functions that every component may be made of.
    pub(super) shared_functions: Option<PathBuf>,
    /// The memory that it may use, what it gives included.
    pub(super) memory: u64,
    /// The processor time that it may use.
    pub(super) seconds: u64,
    /// The host's process.
    pub(super) parent: u32,
    /// Whether it is to put itself behind the fence.
    pub(super) fence: bool,
}

/// How much of a refusal's words is told, in characters: a stranger's names are in them.
const MAX_WORDS: usize = 2_000;

/// The exit code of a child that had no memory left.
pub(super) const OUT_OF_MEMORY: i32 = 12;

/// Why the child has nothing to give.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The component is at fault.
    #[error("the component is not valid: {0}")]
    Refused(String),
    /// It takes more memory than there may be.
    #[error("cannot compile: {0}")]
    Memory(String),
    /// The host or the machine is.
    #[error("cannot compile: {0}")]
    Broken(String),
}

/// Compiles the component in `input` as `order` says, in this process, which is bounded from
/// here on: it should do nothing else and end.
///
/// # Errors
/// [`Refusal`] says whose fault it is.
pub fn compile_here(order: &str, mut input: impl Read, to: File) -> Result<(), Refusal> {
    let broken = |what: &str, error: &dyn std::fmt::Display| Refusal::Broken(format!("{what}: {error}"));
    let order: Order = serde_json::from_str(order).map_err(|error| broken("the order is not one", &error))?;
    // What is not there, or not this user's, is compiled.
    let open = |path: &Option<PathBuf>| path.as_deref().map(cache::open_own).and_then(Result::ok);
    let (own, shared) = (open(&order.own_functions), open(&order.shared_functions));
    confine(&order)?;
    tell_of_memory(order.memory);
    let known = Known::open(own, shared);
    let mut bytes = Vec::with_capacity(order.bytes);
    input.read_to_end(&mut bytes).map_err(|error| broken("cannot read the component", &error))?;
    if bytes.len() != order.bytes {
        return Err(Refusal::Broken("the component did not come whole: the host may have ended".to_owned()));
    }
    output::write(&bytes, known, room_for_functions(order.memory), &Arc::new(to)).map_err(|failed| {
        match failed {
            Failed::NoCompiler(error) => broken("cannot set up the compiler", &error),
            Failed::Unwritten(error) => broken("cannot give the compiled code", &error),
            Failed::Refused(error) if is_out_of_memory(&error) => {
                Refusal::Memory(meaning::words(&error, MAX_WORDS))
            }
            Failed::Refused(error) => Refusal::Refused(meaning::words(&error, MAX_WORDS)),
        }
    })
}

/// How many bytes of new functions are given beside the code: what it leaves of the output's share of the memory.
pub(super) fn room_for_functions(memory: u64) -> u64 {
    memory / 16
}

/// Much of the compiler panics where it is refused memory. Whether that was it is seen by asking for
/// some: then this process ends with a code that says so.
fn tell_of_memory(memory: u64) {
    let much = usize::try_from(memory / 8).unwrap_or(usize::MAX);
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if Vec::<u8>::new().try_reserve_exact(much).is_err() {
            std::process::exit(OUT_OF_MEMORY);
        }
        usual(panic);
    }));
}

/// Whether the system, or an allocator, had no more memory.
fn is_out_of_memory(error: &wasmtime::Error) -> bool {
    error.is::<wasmtime::OutOfMemory>()
        || error.chain().any(|layer| {
            let system = layer.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
            system == Some(std::io::ErrorKind::OutOfMemory)
                || layer.downcast_ref() == Some(&rustix::io::Errno::NOMEM)
        })
}

/// Takes from this process what compiling does not need.
fn confine(order: &Order) -> Result<(), Refusal> {
    let refused = |error: rustix::io::Errno| Refusal::Broken(format!("cannot bound the compiler: {error}"));
    outlive_nobody(order)?;
    // What it gives is a file in memory, which is no data of its own: both share what is allowed.
    let (data, output) = shares(order.memory);
    // Data and not address space: what is only reserved costs nothing.
    for (resource, limit, most) in [
        (Resource::Data, data, data),
        (Resource::Fsize, output, output),
        // The first says that it was the time; the second ends it without a word.
        (Resource::Cpu, order.seconds, order.seconds.saturating_add(1)),
        (Resource::Core, 0, 0),
        (Resource::Nofile, 16, 16),
    ] {
        lower(resource, limit, most).map_err(refused)?;
    }
    rustix::process::nice(NICE).map_err(refused)?;
    if order.fence {
        fence::enter().map_err(|error| Refusal::Broken(format!("cannot fence in the compiler: {error}")))?;
    }
    Ok(())
}

/// How the memory is shared between compiling and what comes out. The code is a fifth of what compiling takes at the
/// most, so that a quarter of all is enough for it and for some of its functions ([`room_for_functions`]).
fn shares(memory: u64) -> (u64, u64) {
    let output = memory / 4;
    (memory - output, output)
}

/// Ends with the host, and before it if memory runs out.
fn outlive_nobody(order: &Order) -> Result<(), Refusal> {
    #[cfg(target_os = "linux")]
    {
        let refused = |error| Refusal::Broken(format!("cannot be tied to the host: {error}"));
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(refused)?;
        // A container may not let its processes say this; the limits hold all the same.
        let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    }
    // The host may have ended before it was asked to tell.
    let parent = rustix::process::getppid().map(Pid::as_raw_nonzero);
    if parent.is_some_and(|parent| i64::from(parent.get()) == i64::from(order.parent)) {
        Ok(())
    } else {
        Err(Refusal::Broken("the host has ended".to_owned()))
    }
}

/// Sets a limit, and how far it could be raised again; lower ones that are there already stay.
fn lower(resource: Resource, limit: u64, most: u64) -> rustix::io::Result<()> {
    let known = rustix::process::getrlimit(resource);
    let least = |known: Option<u64>, wanted: u64| Some(known.map_or(wanted, |known| known.min(wanted)));
    let maximum = least(known.maximum, most);
    let current = least(known.current, least(maximum, limit).unwrap_or(limit));
    rustix::process::setrlimit(resource, Rlimit { current, maximum })
}
