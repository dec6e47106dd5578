//! What the host evaluates of a stranger's outside the sandbox: on blocking threads, so many at once.
//!
//! Neither the threads that answer nor those of guests do it, but for what takes a moment. Whoever
//! waits may leave: what was begun ends by its own bounds, and holds its place until then.

use std::sync::Arc;

use super::Engine;
use super::schema::ContextSchema;
use crate::domain::Failure;

/// How many are evaluated at once.
pub(super) fn places() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get() / 2).max(1)
}

impl Engine {
    /// Builds a schema. `None` if the host failed on it, or is stopping.
    pub(super) async fn build_schema(&self, text: String) -> Option<Result<ContextSchema, String>> {
        self.aside(move || ContextSchema::parse(&text)).await
    }

    /// Checks a task's context against its agent's schema. Poll it on the guests' threads, and
    /// under a permit: a small check is made at once.
    ///
    /// # Errors
    /// [`Failure::InvalidContext`] says what does not fit, and where.
    pub async fn check_context(
        &self,
        schema: &Arc<ContextSchema>,
        context: Option<&str>,
    ) -> Result<(), Failure> {
        let checked = if schema.is_quick(context.map_or(0, str::len)) {
            Some(schema.check(context))
        } else {
            let (schema, context) = (schema.clone(), context.map(str::to_owned));
            self.aside(move || schema.check(context.as_deref())).await
        };
        match checked {
            Some(checked) => checked.map_err(Failure::InvalidContext),
            None => Err(Failure::Internal { internal: "the check of a context was cut off".to_owned() }),
        }
    }

    async fn aside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let place = self.aside.clone().acquire_owned().await.ok()?;
        let work = move || {
            let done = work();
            drop(place);
            done
        };
        tokio::task::spawn_blocking(work).await.ok()
    }
}
