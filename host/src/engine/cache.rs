//! Compiled code on disk, by the component's digest and the engine's compatibility.
//!
//! `DATA/cache/<engine>/<component digest>.<checksum of the file>.cwasm`, and beside it what debug
//! information the component had (`<component digest>.lines`, see `lines.rs`). Loading compiled code
//! is only sound for files that this program wrote itself: the folder is the owner's alone
//! (0700), and a file whose content does not match the checksum in its name, or that wasmtime
//! does not take, is discarded and compiled again.

use std::collections::BTreeSet;
use std::fs;
use std::hash::{Hash, Hasher};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::Digest as _;
use wasmtime::component::Component;

use super::EngineError;
use super::compile::refusal;
use super::component::{LoadError, Loaded};
use super::lines::Lines;
use super::output::Output;
use crate::domain::Digest;

/// What the name of a file that is being written begins with.
const WRITING: &str = ".writing-";
/// Others may share the folder and be writing; nobody writes for so long.
const LEFT_BEHIND: Duration = Duration::from_secs(60 * 60);

/// The folder of one engine's compiled code.
pub(super) struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// Opens `data_dir/cache`, making it if need be.
    pub(super) fn open(data_dir: &Path, engine: &wasmtime::Engine) -> Result<Self, EngineError> {
        let root = data_dir.join("cache");
        let folder = root.join(format!("{:016x}", compatibility(engine)));
        let fault = |reason: String| EngineError::Cache { path: root.display().to_string(), reason };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .map_err(|error| fault(error.to_string()))?;
        for path in [&root, &folder] {
            let metadata = fs::symlink_metadata(path).map_err(|error| fault(error.to_string()))?;
            if !metadata.is_dir() {
                return Err(fault("it is not a folder".to_owned()));
            }
            let me = rustix::process::geteuid().as_raw();
            if metadata.uid() != me {
                return Err(fault(format!(
                    "it belongs to user {}, and this host runs as {me}: compiled code from others is not loaded; remove it or set another `data_dir`",
                    metadata.uid()
                )));
            }
            if metadata.mode() & 0o077 != 0 {
                fs::set_permissions(path, fs::Permissions::from_mode(0o700))
                    .map_err(|error| fault(error.to_string()))?;
            }
        }
        let cache = Self { folder };
        cache.clear_leftovers();
        Ok(cache)
    }

    /// Removes what a crash left half-written. It would never be loaded, and never go.
    fn clear_leftovers(&self) {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(WRITING)) {
            let written = entry.metadata().and_then(|metadata| metadata.modified());
            if written.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > LEFT_BEHIND)) {
                // What cannot be removed costs room, nothing else.
                let _ = fs::remove_file(entry.path());
            }
        }
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
            match checksum_of(&path) {
                Ok(found) if found == checksum => {}
                Ok(_) => {
                    discard("its content is damaged");
                    continue;
                }
                Err(error) => {
                    discard(&error.to_string());
                    continue;
                }
            }
            match deserialize_file(engine, &path).map_err(refusal) {
                Ok(component) => return Ok(Some(Loaded { component, lines: self.lines_of(digest) })),
                Err(error @ LoadError::NeverFits(_)) => return Err(error),
                Err(error) => discard(&error.to_string()),
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
        let path = match self.try_store(digest, compiled) {
            Ok(path) => path,
            Err(error) => {
                tracing::warn!(folder = %self.folder.display(), %error, "could not keep compiled code");
                return Ok(None);
            }
        };
        match deserialize_file(engine, &path).map_err(refusal) {
            Ok(component) => Ok(Some(Loaded { component, lines: self.lines_of(digest) })),
            Err(error @ LoadError::NeverFits(_)) => Err(error),
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "could not map compiled code");
                let _ = fs::remove_file(&path);
                Ok(None)
            }
        }
    }

    fn try_store(&self, digest: &Digest, compiled: &mut Output) -> std::io::Result<PathBuf> {
        let writing = || tempfile::Builder::new().prefix(WRITING).tempfile_in(&self.folder);
        let mut lines = writing()?;
        if std::io::copy(&mut compiled.lines()?, &mut lines)? > 0 {
            lines.persist(self.lines_path(digest))?;
        }
        let mut file = writing()?;
        let checksum = copy(&mut compiled.code()?, &mut file)?;
        let path = self.folder.join(format!("{digest}.{checksum}.cwasm"));
        file.persist(&path)?;
        Ok(path)
    }

    fn lines_path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(format!("{digest}.lines"))
    }

    /// What debug information the component had, as it was compiled.
    fn lines_of(&self, digest: &Digest) -> Option<Lines> {
        Lines::open(fs::File::open(self.lines_path(digest)).ok()?).ok()
    }

    /// Removes the compiled code of these components.
    pub(super) fn forget<'d>(&self, digests: impl IntoIterator<Item = &'d Digest>) {
        let digests: BTreeSet<&Digest> = digests.into_iter().collect();
        for digest in &digests {
            // Most have none.
            let _ = fs::remove_file(self.lines_path(digest));
        }
        let digests: BTreeSet<String> = digests.into_iter().map(Digest::to_string).collect();
        for (path, digest, _) in self.files() {
            if digests.contains(&digest)
                && let Err(error) = fs::remove_file(&path)
            {
                tracing::warn!(file = %path.display(), %error, "could not remove compiled code");
            }
        }
    }

    fn files_of(&self, digest: &Digest) -> Vec<(PathBuf, String)> {
        let digest = digest.to_string();
        let of_this = |(path, of, checksum)| (of == digest).then_some((path, checksum));
        self.files().filter_map(of_this).collect()
    }

    /// Every file of compiled code, with the component's digest and the file's checksum.
    fn files(&self) -> impl Iterator<Item = (PathBuf, String, String)> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        entries.filter_map(|entry| {
            let name = entry.file_name();
            let (digest, checksum) = name.to_str()?.strip_suffix(".cwasm")?.split_once('.')?;
            Some((entry.path(), digest.to_owned(), checksum.to_owned()))
        })
    }
}

fn checksum_of(path: &Path) -> std::io::Result<String> {
    copy(&mut fs::File::open(path)?, &mut std::io::sink())
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
fn compatibility(engine: &wasmtime::Engine) -> u64 {
    #[allow(deprecated)] // Its algorithm is fixed across runs, which the newer one's is not.
    let mut hasher = std::hash::SipHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.finish()
}

/// Compiled code from its file, mapped.
#[allow(unsafe_code)]
fn deserialize_file(engine: &wasmtime::Engine, path: &Path) -> wasmtime::Result<Component> {
    // SAFETY: the file must be what `precompile_component` of this wasmtime gave. It lies in a
    // folder that only this user can enter and that `open` checked; `try_store` alone writes
    // there; the content was just checked against the checksum in its name, or written here; and
    // wasmtime itself refuses another version's or other settings' code. Nobody else's files
    // come here.
    unsafe { Component::deserialize_file(engine, path) }
}

/// Compiled code that was never in a file of the cache.
#[allow(unsafe_code)]
pub(super) fn deserialize(engine: &wasmtime::Engine, compiled: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: as above: `precompile_component` just gave these bytes, in this process or in a
    // child that runs this program, and nobody else could write them since.
    unsafe { Component::deserialize(engine, compiled) }
}
