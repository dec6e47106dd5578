//! Reading a [`Task`].
//!
//! Owns no state. It must not guess: a context that does not fit is the caller's to mend.

use serde::de::DeserializeOwned;

use crate::{Failure, Task};

impl Task {
    /// The context as a type of the agent's own, or none where the caller gave none.
    ///
    /// # Errors
    /// [`Failure::InvalidInput`] that says where the context does not fit.
    pub fn context_as<T: DeserializeOwned>(&self) -> Result<Option<T>, Failure> {
        let Some(context) = &self.context else { return Ok(None) };
        let parsed: Option<T> = serde_json::from_str(context)
            .map_err(|error| Failure::InvalidInput(format!("the context does not fit: {error}")))?;
        Ok(parsed)
    }

    /// The context as a JSON value; `null` where the caller gave none.
    ///
    /// # Errors
    /// [`Failure::InvalidInput`] where it is not JSON, which the host lets through for no caller.
    pub fn context_value(&self) -> Result<serde_json::Value, Failure> {
        Ok(self.context_as()?.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Context {
        page: String,
    }

    fn task(context: Option<&str>) -> Task {
        Task {
            query: "q".to_owned(),
            context: context.map(str::to_owned),
            request_id: "r".to_owned(),
            deadline_ms: 1,
        }
    }

    #[test]
    fn a_context_becomes_a_type() {
        let read = task(Some(r#"{"page":"a"}"#)).context_as();
        assert_eq!(read, Ok(Some(Context { page: "a".to_owned() })));
        assert_eq!(task(None).context_as::<Context>(), Ok(None));
        assert_eq!(task(Some("null")).context_as::<Context>(), Ok(None));
    }

    #[test]
    fn a_context_that_does_not_fit_is_the_callers_to_mend() {
        let Err(Failure::InvalidInput(message)) = task(Some(r#"{"side":1}"#)).context_as::<Context>() else {
            panic!("it fitted");
        };
        assert!(message.contains("missing field `page`"), "{message}");
    }
}
