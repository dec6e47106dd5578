//! Compiled code on disk, by the component's digest and the engine's compatibility.
//!
//! `DATA/cache/<engine>/<component digest>.<checksum of the file>.cwasm`. Loading compiled code
//! is only sound for files that this program wrote itself: the folder is the owner's alone
//! (0700), and a file whose content does not match the checksum in its name, or that wasmtime
//! does not take, is discarded and compiled again.

use std::fs;
use std::hash::{Hash, Hasher};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use wasmtime::component::Component;

use super::EngineError;
use crate::domain::Digest;

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
        Ok(Self { folder })
    }

    /// The compiled form of the component with this digest, if a sound one is here.
    pub(super) fn load(&self, engine: &wasmtime::Engine, digest: &Digest) -> Option<Component> {
        for (path, checksum) in self.files_of(digest) {
            let discard = |reason: &str| {
                tracing::warn!(file = %path.display(), reason, "discarded compiled code; compiling again");
                // If it cannot be removed it is discarded again next time.
                let _ = fs::remove_file(&path);
            };
            let bytes = match fs::read(&path) {
                Ok(bytes) => bytes,
                Err(error) => {
                    discard(&error.to_string());
                    continue;
                }
            };
            if Digest::of(&bytes).to_string() != checksum {
                discard("its content is damaged");
                continue;
            }
            drop(bytes);
            match deserialize(engine, &path) {
                Ok(component) => return Some(component),
                Err(error) => discard(&format!("{error:#}")),
            }
        }
        None
    }

    /// Keeps compiled code. Failing to is said in the log and costs only time.
    pub(super) fn store(&self, digest: &Digest, compiled: &[u8]) {
        if let Err(error) = self.try_store(digest, compiled) {
            tracing::warn!(folder = %self.folder.display(), %error, "could not keep compiled code");
        }
    }

    /// Removes what is kept of this component.
    pub(super) fn forget(&self, digest: &Digest) {
        for (path, _) in self.files_of(digest) {
            // What cannot be removed costs room, nothing else.
            let _ = fs::remove_file(path);
        }
    }

    fn try_store(&self, digest: &Digest, compiled: &[u8]) -> std::io::Result<()> {
        let name = format!("{digest}.{}.cwasm", Digest::of(compiled));
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        file.write_all(compiled)?;
        file.persist(self.folder.join(name))?;
        Ok(())
    }

    fn files_of(&self, digest: &Digest) -> Vec<(PathBuf, String)> {
        let prefix = format!("{digest}.");
        let Ok(entries) = fs::read_dir(&self.folder) else { return Vec::new() };
        entries
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name();
                let checksum = name.to_str()?.strip_prefix(&prefix)?.strip_suffix(".cwasm")?;
                Some((entry.path(), checksum.to_owned()))
            })
            .collect()
    }
}

/// A name for everything that compiled code depends on: wasmtime's version, settings, processor.
fn compatibility(engine: &wasmtime::Engine) -> u64 {
    #[allow(deprecated)] // Its algorithm is fixed across runs, which the newer one's is not.
    let mut hasher = std::hash::SipHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.finish()
}

#[allow(unsafe_code)]
fn deserialize(engine: &wasmtime::Engine, path: &Path) -> wasmtime::Result<Component> {
    // SAFETY: the file must be what `precompile_component` of this wasmtime gave. It lies in a
    // folder that only this user can enter and that `open` checked; `try_store` alone writes
    // there; the content was just checked against the checksum in its name; and wasmtime
    // itself refuses another version's or other settings' code. Nobody else's files come here.
    unsafe { Component::deserialize_file(engine, path) }
}
