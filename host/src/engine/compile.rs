//! Component bytes to linked component: check, take from the cache or compile, link.
//!
//! Compiling is a stranger's work without a bound: it is done elsewhere (`child.rs`) where the
//! engine was told to, and a bounded number at once. What blocks runs on the blocking threads.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::OwnedSemaphorePermit;
use wasmtime::component::Component;

use super::cache::{self, Lineage, Sources};
use super::component::{LinkedComponent, LoadError, Loaded, inspect};
use super::incremental::Known;
use super::lines::Lines;
use super::output::{self, Failed, Output, scratch};
use super::{Compiler, Engine, Origin, child, compiler, meaning, settings};
use crate::domain::Digest;
use crate::telemetry::event::Event;

impl Engine {
    /// Makes a component of this digest ready to run, from the cache if it was compiled before.
    ///
    /// # Errors
    /// [`LoadError`] says what is wrong with it and what to do.
    pub async fn load(
        self: &Arc<Self>,
        bytes: Arc<[u8]>,
        digest: Digest,
        origin: Origin<'_>,
    ) -> Result<LinkedComponent, LoadError> {
        let closed = |_| LoadError::Interrupted;
        let permit = self.compiling.clone().acquire_owned().await.map_err(closed)?;
        let size = bytes.len() as u64;
        let wanted = bytes.clone();
        let known = self.blocking(move |engine| engine.look_up(&wanted, &digest)).await?;
        let loaded = match known {
            Some(loaded) => loaded,
            None => self.compile(bytes, digest, origin, permit).await?,
        };
        self.blocking(move |engine| {
            let inspected = inspect(&engine.wasmtime, &loaded.component)?;
            LinkedComponent::link(&engine.linker, loaded, inspected, digest, size)
        })
        .await
    }

    /// Removes the compiled code of components that nobody uses any more. It blocks on the disk.
    ///
    /// A component that comes back is compiled again; one that runs keeps what it has mapped.
    pub fn forget<'d>(&self, digests: impl IntoIterator<Item = &'d Digest>) {
        if let Some(cache) = &self.cache {
            cache.forget(digests);
        }
    }

    async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, LoadError> + Send + 'static,
    ) -> Result<T, LoadError> {
        let engine = self.clone();
        match tokio::task::spawn_blocking(move || work(&engine)).await {
            Ok(done) => done,
            Err(error) if error.is_panic() => {
                Err(LoadError::CompilerFailed("it panicked; the host's log has its message".to_owned()))
            }
            Err(_) => Err(LoadError::Interrupted),
        }
    }

    fn look_up(&self, bytes: &[u8], digest: &Digest) -> Result<Option<Loaded>, LoadError> {
        let size = bytes.len() as u64;
        if size > self.config.max_component_size {
            return Err(LoadError::TooLarge { size, limit: self.config.max_component_size });
        }
        recognise(bytes)?;
        match &self.cache {
            Some(cache) => cache.load(&self.wasmtime, digest),
            None => Ok(None),
        }
    }

    /// Compiles a component: with the functions that earlier compiles left, and leaving its own.
    async fn compile(
        self: &Arc<Self>,
        bytes: Arc<[u8]>,
        digest: Digest,
        origin: Origin<'_>,
        permit: OwnedSemaphorePermit,
    ) -> Result<Loaded, LoadError> {
        let began = Instant::now();
        let size = bytes.len();
        let program = self.compiler.child_for(origin);
        // A child's functions are the component's own affair, whatever they are by now.
        let lineage = if program.is_none() { Some(Lineage::Shared) } else { origin.lineage() };
        let known = self.cache.as_ref().map(|cache| cache.sources(lineage)).unwrap_or_default();
        let mut compiled = self.compile_with(&bytes, program, known.clone()).await;
        if let Err(LoadError::CompilerFailed(reason)) = &compiled
            && !known.is_empty()
        {
            tracing::warn!(%digest, reason, "the compiler failed with functions that were compiled before; compiling all of them");
            compiled = self.compile_with(&bytes, program, Sources::default()).await;
            // A component on which the compiler fails in any case says nothing of the functions.
            if compiled.is_ok() {
                self.blocking(move |engine| {
                    if let Some(cache) = &engine.cache {
                        cache.discard_functions(&known);
                    }
                    Ok(())
                })
                .await?;
            }
        }
        let output = Arc::new(Output::open(compiled?).map_err(broken)?);
        let (new, known) = output.counts();
        drop(bytes);
        let taken = output.clone();
        let loaded = self.blocking(move |engine| engine.take(&digest, &taken)).await?;
        let ms = began.elapsed().as_millis() as u64;
        tracing::info!(name: Event::ComponentCompiled.name(), %digest, bytes = size, new, known, ms, "compiled a component");
        if let Some(lineage) = lineage {
            let engine = self.clone();
            let keep = tokio::task::spawn_blocking(move || {
                // What the compiler gave is in memory until then, and counts as compiling.
                let _permit = permit;
                if let Some(cache) = &engine.cache {
                    cache.keep_functions(lineage, &output);
                }
            });
            // A command may end before anybody else is done; a host has nobody wait for what is of use next time.
            if self.compiler == Compiler::InProcess {
                // It says in the log what it could not keep.
                let _ = keep.await;
            }
        }
        Ok(loaded)
    }

    async fn compile_with(
        self: &Arc<Self>,
        bytes: &Arc<[u8]>,
        program: Option<&Path>,
        functions: Sources,
    ) -> Result<File, LoadError> {
        let Some(program) = program else {
            let bytes = bytes.clone();
            return self.blocking(move |engine| engine.compile_in_process(&bytes, &functions)).await;
        };
        child::compile(program, bytes, functions, &self.config).await
    }

    fn compile_in_process(&self, bytes: &[u8], functions: &Sources) -> Result<File, LoadError> {
        let open =
            |path: &Option<std::path::PathBuf>| path.as_deref().map(cache::open_own).and_then(Result::ok);
        let known = Known::open(open(&functions.own), open(&functions.shared));
        let file = Arc::new(scratch().map_err(broken)?);
        let room = compiler::room_for_functions(self.config.compile_memory);
        output::write(bytes, known, room, &file).map_err(refusal)?;
        file.try_clone().map_err(broken)
    }

    /// Compiled code to a component: mapped from the cache's file where there is one, since its
    /// pages can be given back; copied where not.
    fn take(&self, digest: &Digest, output: &Output) -> Result<Loaded, LoadError> {
        if let Some(cache) = &self.cache
            && let Some(kept) = cache.store(&self.wasmtime, digest, output)?
        {
            return Ok(kept);
        }
        let mut code = Vec::new();
        output.code().and_then(|mut from| from.read_to_end(&mut code)).map_err(broken)?;
        let component = cache::deserialize(&self.wasmtime, &code)
            .map_err(|error| unloadable(&error, |engine| cache::deserialize(engine, &code)))?;
        drop(code);
        let mut file = scratch().map_err(broken)?;
        output.lines().and_then(|mut from| std::io::copy(&mut from, &mut file)).map_err(broken)?;
        Ok(Loaded { component, lines: Lines::open(file).ok() })
    }
}

fn broken(error: std::io::Error) -> LoadError {
    LoadError::CompilerFailed(error.to_string())
}

/// How much of wasmtime's words is shown, in characters: a stranger's names are in them.
const MAX_WORDS: usize = 2_000;

/// What it means that compiling failed.
fn refusal(failed: Failed) -> LoadError {
    match failed {
        Failed::Refused(error) => LoadError::Invalid(meaning::words(&error, MAX_WORDS)),
        Failed::NoCompiler(error) => LoadError::CompilerFailed(meaning::words(&error, MAX_WORDS)),
        Failed::Unwritten(error) => broken(error),
    }
}

/// What it means that compiled code cannot be loaded. That the pool is too small for it has no type of
/// its own: then it can be loaded where there is no pool.
pub(super) fn unloadable(
    error: &wasmtime::Error,
    load: impl FnOnce(&wasmtime::Engine) -> wasmtime::Result<Component>,
) -> LoadError {
    let text = meaning::words(error, MAX_WORDS);
    match wasmtime::Engine::new(&settings::compiling()).and_then(|engine| load(&engine)) {
        Ok(_) => LoadError::NeverFits(text),
        Err(_) => LoadError::CompilerFailed(text),
    }
}

/// Tells a component from the other things that end up in its place.
fn recognise(bytes: &[u8]) -> Result<(), LoadError> {
    match bytes {
        [] => Err(LoadError::Empty),
        [b'\0', b'a', b's', b'm', 0x0d, 0, 1, 0, ..] => Ok(()),
        [b'\0', b'a', b's', b'm', 1, 0, 0, 0, ..] => Err(LoadError::CoreModule),
        [0x7f, b'E', b'L', b'F', ..] => Err(LoadError::Compiled),
        _ => Err(LoadError::NotWebAssembly),
    }
}

#[cfg(test)]
mod tests;
