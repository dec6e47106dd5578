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
use super::lines::Lines;
use super::output::Output;
use super::sweep;
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
        let (bytes, in_use) = Default::default();
        let cache = Self { root, folder, size, bytes, in_use };
        cache.sweep();
        Ok(cache)
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
        compiled: &mut Output,
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
                if self.bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) > self.size {
                    self.sweep();
                }
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

    fn try_store(&self, digest: &Digest, compiled: &mut Output) -> std::io::Result<(PathBuf, File)> {
        let writing = || tempfile::Builder::new().prefix(sweep::WRITING).tempfile_in(&self.folder);
        let mut lines = writing()?;
        if std::io::copy(&mut compiled.lines()?, &mut lines)? > 0 {
            lines.persist(self.lines_path(digest))?;
        }
        let mut file = writing()?;
        let checksum = copy(&mut compiled.code()?, &mut file)?;
        let path = self.folder.join(format!("{digest}.{checksum}.cwasm"));
        let file = file.persist(&path)?;
        Ok((path, file))
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

/// A file of compiled code that is what its name says, and this user's.
fn sound(path: &Path, checksum: &str) -> std::io::Result<File> {
    let file = open_file(path)?;
    if file.metadata()?.uid() != rustix::process::geteuid().as_raw() {
        return Err(std::io::Error::other("it belongs to another user"));
    }
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
