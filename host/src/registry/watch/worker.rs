//! The thread's own state: what is wanted, what is watched for it, and what is to be reported when.
//!
//! Owns the operating system's watcher. Everything here runs on the one thread, so nothing is
//! locked while the watcher is asked for something.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io::ErrorKind;
use std::ops::Bound;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, ModifyKind, RenameMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use super::resolved_path::ResolvedPath;
use super::stamp::{Identity, Stamp};
use super::tree::{self, Tree};
use super::{Outbox, Timing, WatchProblem};

/// How often paths are resolved again before the rest waits for the next round: each time, folders
/// appeared that were not watched yet.
const ROUNDS: usize = 8;
/// When the rest is tried again.
const SOON: Duration = Duration::from_millis(50);
/// The part of the time that polling may take: one in so many.
const POLL_SHARE: u32 = 50;

/// What matters from now on.
pub(super) enum Wanted {
    Files(BTreeSet<PathBuf>),
    Whole(BTreeSet<PathBuf>),
    /// And what in them does not matter.
    Trees(BTreeSet<PathBuf>, BTreeSet<PathBuf>),
}

impl Wanted {
    /// One of them, to speak of.
    pub(super) fn first(&self) -> PathBuf {
        let (Self::Files(paths) | Self::Whole(paths) | Self::Trees(paths, _)) = self;
        paths.first().cloned().unwrap_or_default()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Kind {
    File,
    /// A file that is not looked at while a writer has it open.
    Whole,
    Tree,
}

/// One thing that is wanted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Key {
    kind: Kind,
    /// As it was given.
    path: Arc<Path>,
}

/// What is known of it.
#[derive(Debug, Default)]
struct Target {
    resolved: ResolvedPath,
    /// The folders below a tree's root.
    folders: Vec<PathBuf>,
    /// As it was when it was last reported.
    stamp: Option<Stamp>,
}

impl Target {
    /// How it is now; `None` if it is not there.
    fn now(&self, key: &Key, excluded: &BTreeSet<PathBuf>) -> Option<Stamp> {
        match key.kind {
            Kind::File | Kind::Whole => Stamp::of_file(&key.path),
            Kind::Tree => Stamp::of_tree(&self.resolved.end, excluded),
        }
    }
}

/// Something changed, and may be changing still.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    since: Instant,
    last: Instant,
    /// A writer has it open, and it is one that has to be whole.
    open: bool,
}

/// What the thread does.
pub(super) struct Worker {
    watcher: RecommendedWatcher,
    outbox: Outbox,
    timing: Timing,
    targets: BTreeMap<Key, Target>,
    /// Whose path is resolved through a name.
    names: HashMap<PathBuf, Vec<Key>>,
    /// Whose tree a folder belongs to.
    tree_folders: HashMap<PathBuf, Vec<Key>>,
    /// Paths in the trees that do not count.
    excluded: BTreeSet<PathBuf>,
    needed: BTreeSet<PathBuf>,
    watched: BTreeMap<PathBuf, Identity>,
    /// Why a folder is not watched.
    failed: BTreeMap<PathBuf, String>,
    waiting: HashMap<Key, Waiting>,
    urgent: BTreeSet<Key>,
    /// Whose path has to be resolved again.
    unresolved: BTreeSet<Key>,
    next_poll: Option<Instant>,
}

/// Whether an event tells of a change. Of accesses, only the end of a writer does.
pub(super) fn is_change(event: &Event) -> bool {
    let closed = EventKind::Access(AccessKind::Close(AccessMode::Write));
    event.need_rescan() || event.kind == closed || !event.kind.is_access()
}

impl Worker {
    pub(super) fn new(watcher: RecommendedWatcher, outbox: Outbox, timing: Timing) -> Self {
        let next_poll = timing.poll.map(|look| Instant::now() + look);
        Self {
            watcher,
            outbox,
            timing,
            targets: BTreeMap::new(),
            names: HashMap::new(),
            tree_folders: HashMap::new(),
            excluded: BTreeSet::new(),
            needed: BTreeSet::new(),
            watched: BTreeMap::new(),
            failed: BTreeMap::new(),
            waiting: HashMap::new(),
            urgent: BTreeSet::new(),
            unresolved: BTreeSet::new(),
            next_poll,
        }
    }

    /// How long nothing is to be done, unless something comes.
    pub(super) fn next_wake(&self) -> Option<Duration> {
        let now = Instant::now();
        let soon = (!self.unresolved.is_empty()).then(|| now + SOON);
        let due = self.waiting.values().map(|waiting| self.due(*waiting));
        let next = due.chain(soon).chain(self.next_poll).min()?;
        Some(next.saturating_duration_since(now))
    }

    fn due(&self, waiting: Waiting) -> Instant {
        if waiting.open {
            return waiting.since + self.timing.writer;
        }
        (waiting.last + self.timing.quiet).min(waiting.since + self.timing.patience)
    }

    /// Takes a new set of one kind.
    pub(super) fn watch(&mut self, wanted: Wanted) -> Vec<WatchProblem> {
        let (kind, paths) = match wanted {
            Wanted::Files(paths) => (Kind::File, paths),
            Wanted::Whole(paths) => (Kind::Whole, paths),
            Wanted::Trees(paths, excluded) => {
                let excluded = excluded.iter().map(|path| ResolvedPath::target_of(path)).collect();
                if self.excluded != excluded {
                    self.excluded = excluded;
                    self.unresolved.extend(self.targets.keys().filter(|key| key.kind == Kind::Tree).cloned());
                }
                (Kind::Tree, paths)
            }
        };
        let keys: BTreeSet<Key> = paths.into_iter().map(|path| Key { kind, path: path.into() }).collect();
        let old: Vec<Key> =
            self.targets.keys().filter(|key| key.kind == kind && !keys.contains(key)).cloned().collect();
        for key in &old {
            self.targets.remove(key);
            self.waiting.remove(key);
            self.urgent.remove(key);
            self.unresolved.remove(key);
            self.outbox.withdraw(&key.path);
        }
        let new: Vec<Key> = keys.iter().filter(|key| !self.targets.contains_key(key)).cloned().collect();
        for key in &new {
            self.targets.insert(key.clone(), Target::default());
            self.unresolved.insert(key.clone());
        }
        // Somebody may have made room since.
        self.failed.clear();
        self.index();
        self.resolve();
        self.update_watches();
        for key in &new {
            // Whoever asks has yet to read it.
            self.waiting.remove(key);
            self.update_stamp(key);
        }
        self.problems(&keys)
    }

    fn problems(&self, keys: &BTreeSet<Key>) -> Vec<WatchProblem> {
        let targets = keys.iter().filter_map(|key| self.targets.get(key));
        let link_folders: BTreeSet<&PathBuf> =
            targets.flat_map(|target| target.resolved.link_folders.iter().chain(&target.folders)).collect();
        let failed = self.failed.iter().filter(|(folder, _)| link_folders.contains(folder));
        failed
            .map(|(folder, reason)| WatchProblem { folder: folder.clone(), reason: reason.clone() })
            .collect()
    }

    /// Handles an event of the operating system.
    pub(super) fn event(&mut self, event: &Event) {
        if event.need_rescan() {
            return self.rescan();
        }
        for path in &event.paths {
            self.changed(event.kind, path);
        }
    }

    fn changed(&mut self, kind: EventKind, path: &Path) {
        let closed = matches!(kind, EventKind::Access(_));
        let came = match kind {
            // What is no file, or is linked from elsewhere (as cargo does), is not being written
            // under this name.
            EventKind::Create(_) => {
                fs::symlink_metadata(path).is_ok_and(|found| !found.is_file() || found.nlink() > 1)
            }
            EventKind::Modify(ModifyKind::Name(mode)) => mode != RenameMode::From,
            _ => false,
        };
        let another = matches!(
            kind,
            EventKind::Create(_) | EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_))
        );
        if another {
            // A watch belongs to what had this name before.
            self.forget(path);
        }
        for key in self.names.get(path).cloned().unwrap_or_default() {
            let is_end = self.targets.get(&key).is_some_and(|target| target.resolved.end == path);
            if another || !is_end {
                self.unresolved.insert(key.clone());
            }
            if closed || came {
                self.report_next(key);
            } else {
                self.report_when_quiet(key.clone());
                self.note_writer(&key, kind, is_end);
            }
        }
        let folder = path.parent().and_then(|folder| self.tree_folders.get(folder));
        if let (Some(keys), Some(name)) = (folder, path.file_name())
            && tree::is_source(name)
            && !self.excluded.contains(path)
        {
            for key in keys.clone() {
                if another {
                    self.unresolved.insert(key.clone());
                }
                self.report_when_quiet(key);
            }
        }
    }

    /// Is reported in the next round. Trees never are: more than one file is saved at a time.
    fn report_next(&mut self, key: Key) {
        match key.kind {
            Kind::File | Kind::Whole => {
                self.urgent.insert(key);
            }
            Kind::Tree => self.report_when_quiet(key),
        }
    }

    /// Is reported once it does not change any more.
    fn report_when_quiet(&mut self, key: Key) {
        let now = Instant::now();
        self.waiting.entry(key).or_insert(Waiting { since: now, last: now, open: false }).last = now;
    }

    /// Notes that a writer has it open, where the system reports when that one closes it.
    fn note_writer(&mut self, key: &Key, kind: EventKind, is_end: bool) {
        let writes = is_end && matches!(kind, EventKind::Modify(ModifyKind::Data(_)));
        if cfg!(target_os = "linux") && writes && key.kind == Kind::Whole {
            self.waiting.entry(key.clone()).and_modify(|waiting| waiting.open = true);
        }
    }

    /// Events were missed: everything may have changed, and every watch may be gone.
    pub(super) fn rescan(&mut self) {
        self.forget(Path::new("/"));
        self.failed.clear();
        for key in self.targets.keys().cloned().collect::<Vec<_>>() {
            self.unresolved.insert(key.clone());
            self.report_next(key);
        }
    }

    /// Ends the watches on a folder and all below it.
    fn forget(&mut self, path: &Path) {
        let below = self
            .watched
            .range::<Path, _>((Bound::Included(path), Bound::Unbounded))
            .take_while(|(folder, _)| folder.starts_with(path));
        let gone: Vec<PathBuf> = below.map(|(folder, _)| folder.clone()).collect();
        for folder in gone {
            self.unwatch_folder(&folder);
        }
        self.failed.retain(|folder, _| !folder.starts_with(path));
    }

    fn unwatch_folder(&mut self, folder: &Path) {
        // The library has let go of folders that vanished.
        let _ = self.watcher.unwatch(folder);
        if let Some(identity) = self.watched.remove(folder) {
            // A folder that is mounted under two names has one watch: it ended for both.
            self.watched.retain(|_, other| *other != identity);
        }
    }

    /// Reports what is due now.
    pub(super) fn report_due(&mut self) {
        self.resolve();
        if self.next_poll.is_some_and(|next| next <= Instant::now()) {
            self.poll();
            self.resolve();
        }
        for key in std::mem::take(&mut self.urgent) {
            // What is on its way from one name to another is there in a moment.
            if fs::metadata(&key.path).is_ok() { self.report(&key) } else { self.report_when_quiet(key) }
        }
        let now = Instant::now();
        let due = self.waiting.iter().filter(|(_, waiting)| self.due(**waiting) <= now);
        for key in due.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            self.report(&key);
        }
    }

    fn report(&mut self, key: &Key) {
        self.waiting.remove(key);
        let Some(before) = self.targets.get(key).map(|target| target.stamp) else { return };
        // Before it is reported: what changes from here on is another change.
        self.update_stamp(key);
        let after = self.targets.get(key).and_then(|target| target.stamp);
        // What was missing and is missing still is no news.
        if before.is_some() || after.is_some() {
            self.outbox.report(key.path.to_path_buf());
        }
    }

    /// Remembers how the target is now.
    fn update_stamp(&mut self, key: &Key) {
        if let Some(target) = self.targets.get_mut(key) {
            target.stamp = target.now(key, &self.excluded);
        }
    }

    /// Resolves the paths that have changed, and watches the folders on them, until all of those are
    /// watched: a file that appeared before its folder was watched raised no event.
    fn resolve(&mut self) {
        for _ in 0..ROUNDS {
            let keys = std::mem::take(&mut self.unresolved);
            if keys.is_empty() {
                return;
            }
            let mut moved = false;
            for key in &keys {
                let Some(target) = self.targets.get_mut(key) else { continue };
                let resolved = std::path::absolute(&key.path)
                    .map(|path| ResolvedPath::follow(&path))
                    .unwrap_or_default();
                let folders = match key.kind {
                    Kind::File | Kind::Whole => Vec::new(),
                    Kind::Tree => Tree::at(&resolved.end, &self.excluded).folders,
                };
                if target.resolved != resolved || target.folders != folders {
                    moved = true;
                    (target.resolved, target.folders) = (resolved, folders);
                }
            }
            if moved {
                self.index();
            }
            let watched = self.update_watches();
            for key in self.targets_below(&watched) {
                self.unresolved.insert(key.clone());
                self.report_when_quiet(key);
            }
        }
    }

    /// The targets that need one of these folders.
    fn targets_below(&self, folders: &BTreeSet<PathBuf>) -> Vec<Key> {
        if folders.is_empty() {
            return Vec::new();
        }
        let uses = |target: &Target| {
            target
                .resolved
                .folders()
                .chain(target.folders.iter().map(PathBuf::as_path))
                .any(|used| folders.contains(used))
        };
        self.targets.iter().filter(|(_, target)| uses(target)).map(|(key, _)| key.clone()).collect()
    }

    /// Works out which targets need which names and folders.
    fn index(&mut self) {
        self.names.clear();
        self.tree_folders.clear();
        self.needed.clear();
        for (key, target) in &self.targets {
            for name in &target.resolved.names {
                self.names.entry(name.clone()).or_default().push(key.clone());
            }
            for folder in target.resolved.folders() {
                if !self.needed.contains(folder) {
                    self.needed.insert(folder.to_owned());
                }
            }
            for folder in &target.folders {
                self.tree_folders.entry(folder.clone()).or_default().push(key.clone());
                self.needed.insert(folder.clone());
            }
        }
    }

    /// Watches what is needed and nothing else. Returns the folders whose events may have been
    /// missed so far.
    fn update_watches(&mut self) -> BTreeSet<PathBuf> {
        let gone: Vec<PathBuf> =
            self.watched.keys().filter(|folder| !self.needed.contains(*folder)).cloned().collect();
        for folder in gone {
            self.unwatch_folder(&folder);
        }
        self.failed.retain(|folder, _| self.needed.contains(folder));
        let missing =
            |folder: &&PathBuf| !self.watched.contains_key(*folder) && !self.failed.contains_key(*folder);
        let missing: Vec<PathBuf> = self.needed.iter().filter(missing).cloned().collect();
        for folder in &missing {
            let Some(identity) = Identity::of(folder) else { continue };
            match self.watcher.watch(folder, RecursiveMode::NonRecursive) {
                Ok(()) if Identity::of(folder) == Some(identity) => {
                    self.watched.insert(folder.clone(), identity);
                }
                // Another one came in its place; its turn is the next round.
                Ok(()) => self.unwatch_folder(folder),
                Err(error) => {
                    if let Some(reason) = reason(&error) {
                        self.failed.insert(folder.clone(), reason);
                    }
                }
            }
        }
        missing.into_iter().filter(|folder| !self.failed.contains_key(folder)).collect()
    }

    /// Looks for changes that raised no event.
    fn poll(&mut self) {
        let began = Instant::now();
        let moved = self.watched.iter().filter(|(folder, identity)| Identity::of(folder) != Some(**identity));
        let moved: BTreeSet<PathBuf> = moved.map(|(folder, _)| folder.clone()).collect();
        for folder in &moved {
            self.forget(folder);
        }
        let failed: BTreeSet<PathBuf> = std::mem::take(&mut self.failed).into_keys().collect();
        let again = [self.targets_below(&moved), self.targets_below(&failed)];
        self.unresolved.extend(again.into_iter().flatten());
        let other =
            self.targets.iter().filter(|(key, target)| target.now(key, &self.excluded) != target.stamp);
        for key in other.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            self.unresolved.insert(key.clone());
            if !self.waiting.contains_key(&key) {
                self.report_when_quiet(key);
            }
        }
        let now = Instant::now();
        self.next_poll = self.timing.poll.map(|look| now + look.max((now - began) * POLL_SHARE));
    }
}

/// Why a folder is not watched, with the remedy; `None` if it is gone, which is no problem.
pub(super) fn reason(error: &notify::Error) -> Option<String> {
    match &error.kind {
        notify::ErrorKind::PathNotFound => None,
        notify::ErrorKind::MaxFilesWatch => Some(
            "the limit of watched folders is reached; raise it: `sysctl fs.inotify.max_user_watches=524288`"
                .to_owned(),
        ),
        notify::ErrorKind::Io(io) if io.kind() == ErrorKind::NotFound => None,
        notify::ErrorKind::Io(io) if io.kind() == ErrorKind::PermissionDenied => {
            Some("the host may not list it; give its user the right to read the folder".to_owned())
        }
        _ => Some(error.to_string()),
    }
}
