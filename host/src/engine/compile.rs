//! Component bytes to linked component: check, take from the cache or compile, link.
//!
//! Compiling is a stranger's work without a bound: it is done elsewhere (`child.rs`) where the
//! engine was told to, and a bounded number at once. What blocks runs on the blocking threads.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;
use std::time::Instant;

use wasmtime::component::Component;

use super::component::{LinkedComponent, LoadError, Loaded, inspect};
use super::lines::Lines;
use super::output::{self, Output, Unwritten, scratch};
use super::settings::{self, Effort};
use super::{Engine, Origin, cache, child, meaning};
use crate::domain::Digest;
use crate::telemetry::event::Event;

impl Engine {
    /// Makes a component ready to run, from the cache if it was compiled before.
    ///
    /// # Errors
    /// [`LoadError`] says what is wrong with it and what to do.
    pub async fn load(
        self: &Arc<Self>,
        bytes: Arc<[u8]>,
        origin: Origin,
    ) -> Result<LinkedComponent, LoadError> {
        let closed = |_| LoadError::Interrupted;
        let _permit = self.compiling.clone().acquire_owned().await.map_err(closed)?;
        let size = bytes.len() as u64;
        let wanted = bytes.clone();
        let (digest, known) = self.blocking(move |engine| engine.look_up(&wanted)).await?;
        let loaded = match known {
            Some(loaded) => loaded,
            None => self.compile(bytes, digest, origin).await?,
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
            let both = |digest: &'d Digest| [Effort::Full, Effort::Quick].map(|effort| effort.key(digest));
            let keys: Vec<Digest> = digests.into_iter().flat_map(both).collect();
            cache.forget(&keys);
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

    fn look_up(&self, bytes: &[u8]) -> Result<(Digest, Option<Loaded>), LoadError> {
        let size = bytes.len() as u64;
        if size > self.config.max_component_size {
            return Err(LoadError::TooLarge { size, limit: self.config.max_component_size });
        }
        recognise(bytes)?;
        let digest = Digest::of(bytes);
        let known = match &self.cache {
            Some(cache) => {
                let effort = Effort::of(bytes.len(), &self.config);
                cache.load(&self.wasmtime, &effort.key(&digest))?
            }
            None => None,
        };
        Ok((digest, known))
    }

    async fn compile(
        self: &Arc<Self>,
        bytes: Arc<[u8]>,
        digest: Digest,
        origin: Origin,
    ) -> Result<Loaded, LoadError> {
        let began = Instant::now();
        let size = bytes.len();
        let compiled = match self.compiler.child_for(origin) {
            None => {
                self.blocking(move |engine| {
                    let file = scratch().map_err(broken)?;
                    let written = match Effort::of(bytes.len(), &engine.config) {
                        Effort::Full => output::write(&engine.wasmtime, &bytes, &file),
                        quick => wasmtime::Engine::new(&settings::compiling(quick))
                            .and_then(|compiler| output::write(&compiler, &bytes, &file)),
                    };
                    written.map_err(refusal)?;
                    Ok(file)
                })
                .await?
            }
            Some(program) => child::compile(program, &bytes, &self.config).await?,
        };
        let loaded = self
            .blocking(move |engine| engine.take_in(&Effort::of(size, &engine.config).key(&digest), compiled))
            .await?;
        let ms = began.elapsed().as_millis() as u64;
        tracing::info!(name: Event::ComponentCompiled.name(), %digest, bytes = size, ms, "compiled a component");
        Ok(loaded)
    }

    /// Compiled code to a component: mapped from the cache's file where there is one, since its
    /// pages can be given back; copied where not.
    fn take_in(&self, digest: &Digest, compiled: File) -> Result<Loaded, LoadError> {
        let mut output = Output::open(compiled).map_err(broken)?;
        if let Some(cache) = &self.cache
            && let Some(kept) = cache.store(&self.wasmtime, digest, &mut output)?
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
fn refusal(error: wasmtime::Error) -> LoadError {
    let text = meaning::words(&error, MAX_WORDS);
    if error.is::<Unwritten>() { LoadError::CompilerFailed(text) } else { LoadError::Invalid(text) }
}

/// What it means that compiled code cannot be loaded. That the pool is too small for it has no type of
/// its own: then it can be loaded where there is no pool.
pub(super) fn unloadable(
    error: &wasmtime::Error,
    load: impl FnOnce(&wasmtime::Engine) -> wasmtime::Result<Component>,
) -> LoadError {
    let text = meaning::words(error, MAX_WORDS);
    match wasmtime::Engine::new(&settings::compiling(Effort::Full)).and_then(|engine| load(&engine)) {
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
