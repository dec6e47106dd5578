//! Building a [`Description`], and the examples in it.
//!
//! Owns no state; limits are the host's to check and are only documented here.

use crate::{Description, Example};

impl Description {
    /// A description with a name for people (at most 100 characters) and a sentence or two on what
    /// the agent does. Everything else is empty until one of the methods below fills it.
    pub fn new(name: impl Into<String>, description: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            description: description.into(),
            version: String::new(),
            category: String::new(),
            triggers: Vec::new(),
            examples: Vec::new(),
            context_schema: None,
            model: None,
            cost_per_query: None,
            default_query: None,
        }
    }

    /// The version of the agent's code; `env!("CARGO_PKG_VERSION")` keeps it where it belongs.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = version.into();
        self
    }

    /// One word that groups agents, such as `infrastructure`.
    #[must_use]
    pub fn category(mut self, category: impl Into<String>) -> Self {
        self.category = category.into();
        self
    }

    /// Adds words and phrases that call for this agent: at most 64, of 100 characters each.
    #[must_use]
    pub fn triggers<T: Into<String>>(mut self, triggers: impl IntoIterator<Item = T>) -> Self {
        self.triggers.extend(triggers.into_iter().map(Into::into));
        self
    }

    /// Adds example tasks, as a person would type them: at most 200, of 500 characters each.
    #[must_use]
    pub fn examples<T: Into<Example>>(mut self, examples: impl IntoIterator<Item = T>) -> Self {
        self.examples.extend(examples.into_iter().map(Into::into));
        self
    }

    /// Adds examples with text that each answer must contain. The host runs them as self-tests
    /// before a version goes live, with every gated capability refused.
    #[must_use]
    pub fn self_tests<T: Into<String>, E: Into<String>>(
        mut self,
        tests: impl IntoIterator<Item = (T, E)>,
    ) -> Self {
        let tests = tests.into_iter();
        self.examples.extend(
            tests.map(|(task, expected)| Example { task: task.into(), expected: Some(expected.into()) }),
        );
        self
    }

    /// The JSON schema, as text, that a task's `context` must satisfy.
    #[must_use]
    pub fn context_schema(mut self, schema: impl Into<String>) -> Self {
        self.context_schema = Some(schema.into());
        self
    }

    /// The language model that the agent uses.
    #[must_use]
    pub fn model(mut self, model: impl Into<String>) -> Self {
        self.model = Some(model.into());
        self
    }

    /// What one task costs, as text such as `$0.001`.
    #[must_use]
    pub fn cost_per_query(mut self, cost: impl Into<String>) -> Self {
        self.cost_per_query = Some(cost.into());
        self
    }

    /// The query that a call without any stands for.
    #[must_use]
    pub fn default_query(mut self, query: impl Into<String>) -> Self {
        self.default_query = Some(query.into());
        self
    }
}

impl From<&str> for Example {
    fn from(task: &str) -> Self {
        Self { task: task.to_owned(), expected: None }
    }
}

impl From<String> for Example {
    fn from(task: String) -> Self {
        Self { task, expected: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_keeps_what_it_was_given() {
        let description = Description::new("Name", "Does things.")
            .version("1.2.3")
            .triggers(["one"])
            .triggers(vec!["two".to_owned()])
            .examples(["Do it"])
            .self_tests([("Say hi", "hi")])
            .default_query("all");
        assert_eq!(description.triggers, ["one", "two"]);
        assert_eq!(description.examples[1].expected.as_deref(), Some("hi"));
        assert_eq!(description.default_query.as_deref(), Some("all"));
        assert_eq!(description.model, None);
    }
}
