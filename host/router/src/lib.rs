//! Text in, decision out: which agent a plain-language task is for.
//!
//! A [`Router`] is built from [`Agent`]s, is immutable, and owns everything derived from them;
//! [`Router::apply`] makes the next one and shares what stayed. A decision is taken among
//! [`Candidates`], the agents a caller may call; the others influence nothing in it.
//! The same agents and the same task give the same decision, always.
//!
//! This crate does no I/O, reads no clock, starts no task and keeps no global state.

mod agent;
mod candidates;
mod confidence;
mod decision;
pub mod evaluate;
mod explain;
mod function_words;
mod index;
mod language;
pub mod lint;
mod model;
mod profile;
mod query;
mod related;
mod roster;
mod router;
mod score;
mod settings;
mod spelling;
mod store;
mod text;

pub use agent::{Agent, Change};
pub use candidates::Candidates;
pub use decision::{Choice, Decision, Verdict};
pub use explain::{CandidateExplanation, Correction, Evidence, Explanation, Field};
pub use language::Language;
pub use router::Router;
pub use settings::Settings;
