//! Building a [`Reply`].
//!
//! Owns no state. It must not decide what an answer is worth: it only carries one.

use serde::Serialize;

use crate::{Failure, Reply};

impl Reply {
    /// An answer for a person to read, and nothing else yet.
    pub fn text(response: impl Into<String>) -> Self {
        Self { response: response.into(), data: None, model: None }
    }

    /// The same answer for a program to read. [`json!`](crate::json) makes a value in place.
    #[must_use]
    pub fn with_data(mut self, data: serde_json::Value) -> Self {
        self.data = Some(data.to_string());
        self
    }

    /// The same answer for a program to read, from any type that serde can write.
    ///
    /// # Errors
    /// [`Failure::Failed`] where the value has no JSON form, such as a map whose keys are no text.
    pub fn with_serialized(mut self, data: &impl Serialize) -> Result<Self, Failure> {
        let text = serde_json::to_string(data)
            .map_err(|error| Failure::Failed(format!("the answer's data has no JSON form: {error}")))?;
        self.data = Some(text);
        Ok(self)
    }

    /// The language model that answered.
    #[must_use]
    pub fn with_model(mut self, model: impl Into<String>) -> Self {
        self.model = Some(model.into());
        self
    }
}

impl From<String> for Reply {
    fn from(response: String) -> Self {
        Self::text(response)
    }
}

impl From<&str> for Reply {
    fn from(response: &str) -> Self {
        Self::text(response)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::json;

    #[test]
    fn data_travels_as_json_text() {
        let reply = Reply::text("two").with_data(json!({ "value": 2 })).with_model("none");
        assert_eq!(reply.data.as_deref(), Some(r#"{"value":2}"#));
        assert_eq!(reply.model.as_deref(), Some("none"));
    }

    #[test]
    fn what_has_no_json_form_is_a_failure() {
        let odd = BTreeMap::from([(vec![1], 2)]);
        assert!(matches!(Reply::text("").with_serialized(&odd), Err(Failure::Failed(_))));
    }
}
