//! Component bytes to linked component: check, compile or take from the cache, link.
//!
//! Blocking and heavy, so it runs on the blocking threads, a bounded number at once.

use std::sync::Arc;

use wasmtime::component::Component;

use super::Engine;
use super::component::{LinkedComponent, LoadError, inspect};
use crate::domain::Digest;

impl Engine {
    /// Makes a component ready to run, from the cache if it was compiled before.
    ///
    /// # Errors
    /// [`LoadError`] says what is wrong with it and what to do.
    pub async fn load(self: &Arc<Self>, bytes: Arc<[u8]>) -> Result<LinkedComponent, LoadError> {
        let closed = |_| LoadError::Interrupted;
        let _permit = self.compiling.clone().acquire_owned().await.map_err(closed)?;
        let engine = self.clone();
        let load = move || engine.load_blocking(&bytes);
        match tokio::task::spawn_blocking(load).await {
            Ok(loaded) => loaded,
            Err(error) if error.is_panic() => Err(LoadError::Invalid("the compiler failed on it".to_owned())),
            Err(_) => Err(LoadError::Interrupted),
        }
    }

    /// Removes the compiled code of a component that nobody uses any more.
    pub fn forget(&self, digest: &Digest) {
        if let Some(cache) = &self.cache {
            cache.forget(digest);
        }
    }

    fn load_blocking(&self, bytes: &[u8]) -> Result<LinkedComponent, LoadError> {
        let size = bytes.len() as u64;
        if size > self.config.max_component_size {
            return Err(LoadError::TooLarge { size, limit: self.config.max_component_size });
        }
        recognise(bytes)?;
        let digest = Digest::of(bytes);
        let cached = self.cache.as_ref().and_then(|cache| cache.load(&self.wasmtime, &digest));
        let component = match cached {
            Some(component) => component,
            None => self.compile(bytes, &digest)?,
        };
        let inspected = inspect(&self.wasmtime, &component)?;
        LinkedComponent::link(&self.linker, &component, inspected, digest, size)
    }

    fn compile(&self, bytes: &[u8], digest: &Digest) -> Result<Component, LoadError> {
        let began = std::time::Instant::now();
        let component = match &self.cache {
            // Straight from the file where there is one: its pages can be given back.
            Some(cache) => {
                let compiled = self.wasmtime.precompile_component(bytes).map_err(refusal)?;
                cache.store(digest, &compiled);
                drop(compiled);
                match cache.load(&self.wasmtime, digest) {
                    Some(component) => component,
                    None => Component::from_binary(&self.wasmtime, bytes).map_err(refusal)?,
                }
            }
            None => Component::from_binary(&self.wasmtime, bytes).map_err(refusal)?,
        };
        let ms = began.elapsed().as_millis() as u64;
        tracing::info!(%digest, bytes = bytes.len(), ms, "compiled a component");
        Ok(component)
    }
}

/// What wasmtime's refusal to compile means. That the pool is too small has no type of its own.
fn refusal(error: wasmtime::Error) -> LoadError {
    let text = format!("{error:#}");
    if text.contains("pooling allocator") { LoadError::NeverFits(text) } else { LoadError::Invalid(text) }
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
