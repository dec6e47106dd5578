//! What a compile takes from earlier ones, and what it leaves for later ones: Cranelift asks for each function by the digest of all that it is
//! compiled from and for, and compiles what is not there.
//!
//! Reads up to two files of functions and writes to neither: what is new goes to the compile's own output, for the host to judge.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::functions::{Compiled, Functions, Key, MAX_FUNCTIONS, Used};

/// The files of functions that a compile may read.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The one to which its own functions will be added.
    pub(super) own: Option<Functions>,
    /// One that it may only read.
    pub(super) shared: Option<Functions>,
    /// Which of the two could not be opened.
    pub(super) unsound: Unsound,
}

/// Which files of functions were damaged.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unsound {
    pub(super) own: bool,
    pub(super) shared: bool,
}

impl Known {
    /// Takes files that are open already.
    pub(super) fn open(own: Option<File>, shared: Option<File>) -> Self {
        let mut unsound = Unsound::default();
        let own = own.map(Functions::open).and_then(|opened| opened.map_err(|_| unsound.own = true).ok());
        let shared =
            shared.map(Functions::open).and_then(|opened| opened.map_err(|_| unsound.shared = true).ok());
        Self { own, shared, unsound }
    }
}

/// One compile's functions.
#[derive(Debug)]
pub(super) struct Incremental {
    known: Known,
    found: AtomicU64,
    new: Mutex<New>,
    to: Arc<File>,
    /// How many bytes of new ones are kept; of more, the rest is compiled again next time.
    room: u64,
}

#[derive(Debug, Default)]
struct New {
    end: u64,
    functions: HashMap<Key, (u64, u32)>,
}

/// What a compile says of its functions when it is over.
#[derive(Debug, Default)]
pub(super) struct Summary {
    /// The new ones, whose forms are at the beginning of the output.
    pub(super) new: Vec<Compiled>,
    /// How long that beginning is.
    pub(super) end: u64,
    /// How many were not compiled, since they were known.
    pub(super) found: u64,
    /// What was used of its own file.
    pub(super) used: Used,
    /// Which files were damaged.
    pub(super) unsound: Unsound,
}

impl Incremental {
    /// New functions go to the beginning of `to`, at most `room` bytes.
    pub(super) fn new(known: Known, to: Arc<File>, room: u64) -> Self {
        Self { known, found: AtomicU64::new(0), new: Mutex::default(), to, room }
    }

    /// What there is to say once everything is compiled.
    pub(super) fn summary(&self) -> Summary {
        let new = self.new.lock();
        let functions = new.functions.iter();
        let functions = functions.map(|(key, (at, length))| Compiled { key: *key, at: *at, length: *length });
        let is_damaged = |one: &Option<Functions>| one.as_ref().is_some_and(Functions::is_damaged);
        Summary {
            new: functions.collect(),
            end: new.end,
            found: self.found.load(Ordering::Relaxed),
            used: self.known.own.as_ref().map(Functions::used).unwrap_or_default(),
            unsound: Unsound {
                own: self.known.unsound.own || is_damaged(&self.known.own),
                shared: self.known.unsound.shared || is_damaged(&self.known.shared),
            },
        }
    }
}

impl wasmtime::CacheStore for Incremental {
    fn get(&self, key: &[u8]) -> Option<Cow<'_, [u8]>> {
        let find = |one: &Option<Functions>| one.as_ref()?.get(key);
        let form = find(&self.known.own).or_else(|| find(&self.known.shared))?;
        self.found.fetch_add(1, Ordering::Relaxed);
        Some(Cow::Owned(form))
    }

    fn insert(&self, key: &[u8], form: Vec<u8>) -> bool {
        let (Ok(key), Ok(length)) = (Key::try_from(key), u32::try_from(form.len())) else { return false };
        let mut new = self.new.lock();
        let at = new.end;
        let end = at.saturating_add(form.len() as u64);
        let is_full = end > self.room || new.functions.len() >= MAX_FUNCTIONS;
        if is_full || new.functions.contains_key(&key) || self.to.write_all_at(&form, at).is_err() {
            return false;
        }
        new.end = end;
        new.functions.insert(key, (at, length));
        true
    }
}
