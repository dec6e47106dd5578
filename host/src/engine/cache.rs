//! Compiled code on disk, by the component's digest and the engine's compatibility.
//!
//! `DATA/cache/<engine>/<component digest>.<checksum of the file>.cwasm`, and beside it what debug
//! information the component had (`<component digest>.lines`, see `lines.rs`). Loading compiled code
//! is only sound for files that this program wrote itself: the data folder and those below are the
//! owner's alone (0700), and a file whose content does not match the checksum in its name, or that
//! wasmtime does not take, is discarded and compiled again. A file is opened once: what was checked is
//! what is mapped, whatever its name stands for by then.
//!
//! The folder is bounded in bytes and in time, over all engines that ever wrote there. A file's time of
//! modification is when it was last used. Other hosts may share the folder: one that loses a file keeps
//! what it has mapped, and compiles again next time.
//!
//! Compiled functions are kept apart from components' code (`<lineage's digest>.functions`, see `functions.rs`), for compiles of other components
//! that have them too. They come from where components' code comes from, and go further: so who may write for whom is
//! decided here, by [`Lineage`]. Only this process writes them.

use std::collections::{BTreeSet, HashSet};
use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::io::{Read, Seek, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use parking_lot::Mutex;
use sha2::Digest as _;
use wasmtime::component::Component;

use super::EngineError;
use super::compile::unloadable;
use super::component::{LoadError, Loaded};
use super::functions::{self, Compiled, Functions, Used};
use super::lines::Lines;
use super::output::Output;
use super::{output, sweep};
use crate::domain::Digest;
use crate::storage::files::{open_file, private_folder};

/// The folder of one engine's compiled code, and the sweeper of all.
pub(super) struct Cache {
    root: PathBuf,
    folder: PathBuf,
    /// How many bytes all engines' code may have.
    size: u64,
    /// How many it has, as far as this process knows.
    bytes: AtomicU64,
    /// What this process has loaded, by the digests in files' names.
    in_use: Mutex<HashSet<String>>,
    /// Held by whoever writes functions: what another one just wrote is not lost.
    writing: Mutex<()>,
}

/// The most functions of one lineage, in bytes. Those of a Python agent have 36 MB.
const LINEAGE_BYTES: u64 = 128 << 20;
/// The same for those that all compiles share.
const SHARED_BYTES: u64 = 256 << 20;

/// What is less than this part of a lineage's file is compiled again rather than that all is written again: else a
/// stranger's component of one function would have the host write as much as there may be at the most. Functions that
/// all compiles share are of many sizes, and nobody's who wishes ill.
const LITTLE: u64 = 64;

/// Whose compiled functions these are: each may be written by compiles of the one kind only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lineage {
    /// What this program compiled in its own process: a compiler that a component took over there has the user's rights, and
    /// needs no cache to use them. Every compile may read them.
    Shared,
    /// What children compiled of one file, or of what was registered for one agent with one key. A child that was taken
    /// over leaves what it likes, and only the next versions of the same component read it.
    Of(Digest),
}

impl Lineage {
    /// What the cache calls its file.
    fn name(&self) -> Digest {
        match self {
            Self::Shared => Digest::of(b"functions that every compile may read"),
            Self::Of(digest) => *digest,
        }
    }

    fn bound(&self, cache: u64) -> u64 {
        let most = match self {
            Self::Shared => SHARED_BYTES,
            Self::Of(_) => LINEAGE_BYTES,
        };
        most.min(cache / 4)
    }
}

/// The files of functions that a compile may read.
#[derive(Debug, Clone, Default)]
pub(super) struct Sources {
    /// The one that it adds to.
    pub(super) own: Option<PathBuf>,
    /// Another one.
    pub(super) shared: Option<PathBuf>,
}

impl Sources {
    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.own.is_none() && self.shared.is_none()
    }
}

impl Cache {
    /// Opens `data_dir/cache`, making it if need be, and sweeps it: `size` is how many bytes it may
    /// have.
    pub(super) fn open(data_dir: &Path, engine: &wasmtime::Engine, size: u64) -> Result<Self, EngineError> {
        let root = data_dir.join("cache");
        let folder = root.join(format!("{:016x}", compatibility(engine)));
        for path in [data_dir, &root, &folder] {
            let fault = |reason: std::io::Error| EngineError::Cache {
                path: path.display().to_string(),
                reason: reason.to_string(),
            };
            if path != data_dir && fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink()) {
                return Err(fault(std::io::Error::other("it is a link, which somebody else may turn")));
            }
            private_folder(path).map_err(fault)?;
        }
        let (bytes, in_use, writing) = Default::default();
        let cache = Self { root, folder, size, bytes, in_use, writing };
        cache.sweep();
        Ok(cache)
    }

    /// Notes that there is more, and removes what is too much.
    fn grew(&self, bytes: u64) {
        if self.bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) > self.size {
            self.sweep();
        }
    }

    /// Removes what nobody needs. What this process uses stays.
    fn sweep(&self) {
        let in_use = self.in_use.lock().clone();
        let left = sweep::sweep(&self.root, &self.folder, self.size, &in_use);
        self.bytes.store(left, Ordering::Relaxed);
    }

    /// Notes that this process uses the code in `file`.
    fn used(&self, digest: &Digest, file: &File) {
        // What cannot be noted is removed too early, and compiled again.
        let _ = file.set_modified(SystemTime::now());
        self.in_use.lock().insert(digest.to_string());
    }

    /// The compiled form of the component with this digest, if a sound one is here.
    ///
    /// # Errors
    /// If it is sound and does not fit the pool.
    pub(super) fn load(
        &self,
        engine: &wasmtime::Engine,
        digest: &Digest,
    ) -> Result<Option<Loaded>, LoadError> {
        for (path, checksum) in self.files_of(digest) {
            let discard = |reason: &str| {
                tracing::warn!(file = %path.display(), reason, "discarded compiled code; compiling again");
                // If it cannot be removed it is discarded again next time.
                let _ = fs::remove_file(&path);
            };
            let file = match sound(&path, &checksum) {
                Ok(file) => file,
                Err(error) => {
                    discard(&error.to_string());
                    continue;
                }
            };
            match map(engine, &file) {
                Ok(component) => {
                    self.used(digest, &file);
                    return Ok(Some(Loaded { component, lines: self.lines_of(digest) }));
                }
                Err(error) => match unloadable(&error, |engine| map(engine, &file)) {
                    error @ LoadError::NeverFits(_) => return Err(error),
                    error => discard(&error.to_string()),
                },
            }
        }
        Ok(None)
    }

    /// Keeps compiled code and maps it from its file. `None` if it cannot be kept, which is
    /// said in the log and costs only time and memory.
    ///
    /// # Errors
    /// If it does not fit the pool.
    pub(super) fn store(
        &self,
        engine: &wasmtime::Engine,
        digest: &Digest,
        compiled: &Output,
    ) -> Result<Option<Loaded>, LoadError> {
        let (path, file) = match self.try_store(digest, compiled) {
            Ok(stored) => stored,
            Err(error) => {
                tracing::warn!(folder = %self.folder.display(), %error, "could not keep compiled code");
                return Ok(None);
            }
        };
        match map(engine, &file) {
            Ok(component) => {
                self.used(digest, &file);
                let bytes = file.metadata().map_or(0, |metadata| metadata.len());
                self.grew(bytes);
                Ok(Some(Loaded { component, lines: self.lines_of(digest) }))
            }
            Err(error) => match unloadable(&error, |engine| map(engine, &file)) {
                error @ LoadError::NeverFits(_) => Err(error),
                error => {
                    tracing::warn!(file = %path.display(), %error, "could not map compiled code");
                    let _ = fs::remove_file(&path);
                    Ok(None)
                }
            },
        }
    }

    fn try_store(&self, digest: &Digest, compiled: &Output) -> std::io::Result<(PathBuf, File)> {
        let mut lines = self.writing_file()?;
        if std::io::copy(&mut compiled.lines()?, &mut lines)? > 0 {
            lines.persist(self.lines_path(digest))?;
        }
        let mut file = self.writing_file()?;
        let checksum = copy(&mut compiled.code()?, &mut file)?;
        let path = self.folder.join(format!("{digest}.{checksum}.cwasm"));
        let file = file.persist(&path)?;
        Ok((path, file))
    }

    fn functions_path(&self, lineage: Lineage) -> PathBuf {
        self.folder.join(format!("{}.functions", lineage.name()))
    }

    /// What a compile may read whose functions will be `lineage`'s.
    pub(super) fn sources(&self, lineage: Option<Lineage>) -> Sources {
        let there = |lineage| {
            let path = self.functions_path(lineage);
            // Who reads it may not say so itself. What cannot be noted is removed too early, and compiled again.
            let _ = open_own(&path).ok()?.set_modified(SystemTime::now());
            Some(path)
        };
        match lineage {
            Some(Lineage::Shared) => Sources { own: there(Lineage::Shared), shared: None },
            own => Sources { own: own.and_then(there), shared: there(Lineage::Shared) },
        }
    }

    /// Keeps the functions of a compile. What cannot be kept costs only time.
    pub(super) fn keep_functions(&self, lineage: Lineage, compiled: &Output) {
        let unsound = compiled.unsound();
        let kept = compiled
            .functions()
            .and_then(|(new, used, forms)| self.write_functions(lineage, &used, (&new, forms), unsound.own));
        // A child says so of the shared ones, and may lie: they are looked at.
        let mended = if unsound.shared { self.mend_shared() } else { Ok(()) };
        if let Err(error) = kept.and(mended) {
            tracing::warn!(folder = %self.folder.display(), %error, "could not keep compiled functions");
        }
    }

    /// Writes a lineage's file again, with what is new; without what is damaged, where that was seen.
    fn write_functions(
        &self,
        lineage: Lineage,
        used: &Used,
        (new, forms): (&[Compiled], &File),
        damaged: bool,
    ) -> std::io::Result<()> {
        let path = self.functions_path(lineage);
        let _alone = self.writing.lock();
        let before = match open_own(&path).and_then(Functions::open) {
            Ok(before) => Some(before),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => {
                discarded(&path, &error.to_string());
                let _ = fs::remove_file(&path);
                None
            }
        };
        if let Some(before) = &before {
            // It was used, whatever comes of this.
            let _ = before.file().set_modified(SystemTime::now());
        }
        let bytes: u64 = new.iter().map(|one| u64::from(one.length)).sum();
        let standing =
            before.as_ref().map_or(0, |before| before.file().metadata().map_or(0, |file| file.len()));
        let is_little = new.is_empty() || (lineage != Lineage::Shared && bytes < standing / LITTLE);
        if is_little && !(damaged && before.as_ref().is_some_and(Functions::has_damaged)) {
            return Ok(());
        }
        let mut file = self.writing_file()?;
        let bound = lineage.bound(self.size);
        let written =
            functions::write(file.as_file_mut(), before.as_ref(), used, (new, forms), bound, damaged)?;
        file.persist(&path)?;
        if written.damaged > 0 {
            discarded(&path, "its content is damaged");
        }
        self.grew(written.bytes.saturating_sub(standing));
        Ok(())
    }

    /// Removes the functions that a compile with these failed on, and without them did not: the compile's own. Of those
    /// that others read, too, what is damaged goes: a compiler that a component took over fails when it likes.
    pub(super) fn discard_functions(&self, sources: &Sources) {
        if let Some(path) = &sources.own {
            discarded(path, "the compiler failed with them");
            let _ = fs::remove_file(path);
        } else if let Err(error) = self.mend_shared() {
            tracing::warn!(folder = %self.folder.display(), %error, "could not look at compiled functions");
        }
    }

    /// Removes from the functions that every compile may read what is damaged.
    fn mend_shared(&self) -> std::io::Result<()> {
        self.write_functions(Lineage::Shared, &Used::default(), (&[], &output::scratch()?), true)
    }

    fn writing_file(&self) -> std::io::Result<tempfile::NamedTempFile> {
        tempfile::Builder::new().prefix(sweep::WRITING).tempfile_in(&self.folder)
    }

    fn lines_path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(format!("{digest}.lines"))
    }

    /// What debug information the component had, as it was compiled.
    fn lines_of(&self, digest: &Digest) -> Option<Lines> {
        Lines::open(open_file(&self.lines_path(digest)).ok()?).ok()
    }

    /// Removes the compiled code of these components.
    pub(super) fn forget<'d>(&self, digests: impl IntoIterator<Item = &'d Digest>) {
        let digests: BTreeSet<&Digest> = digests.into_iter().collect();
        for digest in &digests {
            // Most have none.
            let _ = fs::remove_file(self.lines_path(digest));
        }
        let digests: BTreeSet<String> = digests.into_iter().map(Digest::to_string).collect();
        self.in_use.lock().retain(|digest| !digests.contains(digest));
        for (path, digest, _) in self.files() {
            if digests.contains(&digest)
                && let Err(error) = fs::remove_file(&path)
            {
                tracing::warn!(file = %path.display(), %error, "could not remove compiled code");
            }
        }
    }

    pub(super) fn files_of(&self, digest: &Digest) -> Vec<(PathBuf, String)> {
        let digest = digest.to_string();
        let of_this = |(path, of, checksum)| (of == digest).then_some((path, checksum));
        self.files().filter_map(of_this).collect()
    }

    /// Every file of compiled code, with the component's digest and the file's checksum.
    fn files(&self) -> impl Iterator<Item = (PathBuf, String, String)> {
        sweep::entries(&self.folder).filter_map(|entry| {
            let name = entry.file_name();
            let (digest, checksum) = name.to_str()?.strip_suffix(".cwasm")?.split_once('.')?;
            Some((entry.path(), digest.to_owned(), checksum.to_owned()))
        })
    }
}

/// Says in the log that functions are compiled again.
fn discarded(path: &Path, reason: &str) {
    tracing::warn!(file = %path.display(), reason, "discarded compiled functions; compiling them again");
}

/// Opens a file of this user's.
///
/// # Errors
/// If it is another's, or cannot be opened.
pub(super) fn open_own(path: &Path) -> std::io::Result<File> {
    let file = open_file(path)?;
    if file.metadata()?.uid() != rustix::process::geteuid().as_raw() {
        return Err(std::io::Error::other("it belongs to another user"));
    }
    Ok(file)
}

/// A file of compiled code that is what its name says, and this user's.
fn sound(path: &Path, checksum: &str) -> std::io::Result<File> {
    let file = open_own(path)?;
    if copy(&mut &file, &mut std::io::sink())? == checksum {
        Ok(file)
    } else {
        Err(std::io::Error::other("its content is damaged"))
    }
}

/// Copies it all; the checksum of what was copied. Compiled code may be large, and is never
/// in memory as a whole.
fn copy(from: &mut impl Read, to: &mut impl Write) -> std::io::Result<String> {
    let mut sum = sha2::Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(Digest::from_bytes(sum.finalize().into()).to_string()),
            read => {
                sum.update(&buffer[..read]);
                to.write_all(&buffer[..read])?;
            }
        }
    }
}

/// A name for everything that compiled code depends on: wasmtime's version, settings, processor.
pub(super) fn compatibility(engine: &wasmtime::Engine) -> u64 {
    #[allow(deprecated)] // Its algorithm is fixed across runs, which the newer one's is not.
    let mut hasher = std::hash::SipHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.finish()
}

/// Compiled code from the file that is open, mapped; copied where the system has no names for open files.
fn map(engine: &wasmtime::Engine, mut file: &File) -> wasmtime::Result<Component> {
    // The kernel's name for what is open, whatever became of its own name since.
    let opened = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    if opened.exists() {
        return deserialize_file(engine, &opened);
    }
    let mut code = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut code)).map_err(wasmtime::Error::new)?;
    deserialize(engine, &code)
}

#[allow(unsafe_code)]
fn deserialize_file(engine: &wasmtime::Engine, path: &Path) -> wasmtime::Result<Component> {
    // SAFETY: the file must be what `precompile_component` of this wasmtime gave. It lies in a
    // folder that only this user can enter and that `open` checked; `try_store` alone writes
    // there; the content of the very file that is open was just checked against the checksum in its
    // name, or written here; and wasmtime itself refuses another version's or other settings' code.
    // Nobody else's files come here.
    unsafe { Component::deserialize_file(engine, path) }
}

/// Compiled code that was never in a file of the cache.
#[allow(unsafe_code)]
pub(super) fn deserialize(engine: &wasmtime::Engine, compiled: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: as above: `precompile_component` just gave these bytes, in this process or in a
    // child that runs this program, and nobody else could write them since.
    unsafe { Component::deserialize(engine, compiled) }
}
