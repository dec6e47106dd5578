//! How a submitted task ended: one record for whoever waits and for whoever keeps it.
//!
//! A value. It is whole without the host that made it: it can be written as JSON and read again.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::{AgentId, Denial, Digest, Failure, Micros, Receipt, Reply, TenantId};
use crate::registry::AgentVersion;

/// How a submission ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The code that the task was given to; `None` where there was none, or the task was rejected.
    pub agent: Option<Served>,
    /// The answer, or why there is none. In JSON `reply` or `failure`; a failure is kept as a client may
    /// see it.
    #[serde(flatten, with = "ResultForm")]
    pub result: Result<Reply, Failure>,
    /// Whether code of the agent ran: sending the task again may repeat what it did.
    pub guest_ran: bool,
    /// What it spent.
    pub receipt: Receipt,
    /// The capabilities that were refused.
    pub denials: Vec<Denial>,
    /// From acceptance to the end.
    #[serde(rename = "elapsed_ms")]
    pub elapsed: Micros,
}

impl Outcome {
    /// What is known of a task whose host went, or failed, before it could say how the task ended.
    pub(super) fn unknown() -> Self {
        Self {
            agent: None,
            result: Err(Failure::Interrupted),
            // It may have.
            guest_ran: true,
            receipt: Receipt::default(),
            denials: Vec::new(),
            elapsed: Micros::ZERO,
        }
    }

    /// Whether the same task, sent again, could be answered: see [`Failure::retryable`].
    pub fn retryable(&self) -> bool {
        self.result.as_ref().err().is_some_and(Failure::retryable)
    }
}

/// How a result is written.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Result")]
enum ResultForm<T, E> {
    #[serde(rename = "reply")]
    Ok(T),
    #[serde(rename = "failure")]
    Err(E),
}

/// The code that a submission was given to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Served {
    /// Whose agent it is.
    pub tenant: TenantId,
    /// The agent.
    pub id: AgentId,
    /// Its name for people.
    pub name: Arc<str>,
    /// The version of its code.
    pub version: Arc<str>,
    /// Which of its versions, counting up.
    pub generation: u64,
    /// The SHA-256 of its component.
    pub digest: Digest,
    /// The language model it says it uses.
    pub model: Option<Arc<str>>,
}

impl From<&AgentVersion> for Served {
    fn from(version: &AgentVersion) -> Self {
        Self {
            tenant: version.key.tenant.clone(),
            id: version.key.id.clone(),
            name: version.card.name.clone(),
            version: version.card.version.clone(),
            generation: version.generation,
            digest: version.digest,
            model: version.card.model.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn outcome(result: Result<Reply, Failure>) -> Outcome {
        Outcome {
            agent: Some(Served {
                tenant: TenantId::default_tenant(),
                id: AgentId::parse("echo").expect("an id"),
                name: "Echo".into(),
                version: "1.0.0".into(),
                generation: 3,
                digest: Digest::of(b"code"),
                model: None,
            }),
            result,
            guest_ran: true,
            receipt: Receipt { fuel: 7, wall: Micros::new(1_234), ..Receipt::default() },
            denials: Vec::new(),
            elapsed: Micros::new(2_345),
        }
    }

    #[test]
    fn an_answer_is_read_as_it_was_written() {
        let data = Some("{\"a\": [1.50]}".to_owned());
        let answered = outcome(Ok(Reply { response: "hi".to_owned(), data, model: None }));
        let json = serde_json::to_value(&answered).expect("JSON");
        assert_eq!(json["reply"]["response"], "hi");
        assert_eq!(json["agent"]["tenant"], "default");
        assert_eq!((&json["elapsed_ms"], &json["receipt"]["wall_ms"]), (&json!(2.345), &json!(1.234)));
        assert!(json.get("failure").is_none());
        let read: Outcome = serde_json::from_value(json).expect("an outcome");
        assert_eq!(read, answered);
        assert!(!read.retryable());
        let text = serde_json::to_string(&answered).expect("JSON");
        assert_eq!(serde_json::from_str::<Outcome>(&text).expect("an outcome"), answered);
    }

    #[test]
    fn a_failure_is_read_as_what_a_client_may_see_of_it() {
        let trapped = outcome(Err(Failure::Trapped { internal: "a secret".to_owned() }));
        let text = serde_json::to_string(&trapped).expect("JSON");
        assert!(!text.contains("secret"), "{text}");
        let read: Outcome = serde_json::from_str(&text).expect("an outcome");
        let failure = read.result.as_ref().expect_err("it failed");
        assert_eq!((failure.code(), failure.retryable(), read.guest_ran), ("agent_trapped", false, true));
        assert_eq!(serde_json::to_string(&read).expect("JSON"), text);
        assert!(outcome(Err(Failure::Draining)).retryable());
    }
}
