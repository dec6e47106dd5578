//! The agent's own settings: the table `config` of the agent in agents.toml.
//!
//! Owns no state: each call asks the host. An agent that calls nothing here imports nothing.

use std::{fmt::Display, str::FromStr};

use crate::{Failure, bindings::wasi::config::store};

/// The value of one setting, or none where it is not set.
///
/// # Errors
/// [`Failure::Unavailable`] where the host could not read its settings.
pub fn get(key: &str) -> Result<Option<String>, Failure> {
    store::get(key).map_err(unavailable)
}

/// The value of one setting, or `default` where it is not set or cannot be read.
pub fn get_or(key: &str, default: impl Into<String>) -> String {
    store::get(key).ok().flatten().unwrap_or_else(|| default.into())
}

/// The value of one setting as a number, a flag or any other type that parses from text.
///
/// # Errors
/// [`Failure::Failed`] where the value does not parse: the operator's to mend, not the caller's.
pub fn parse<T: FromStr<Err: Display>>(key: &str) -> Result<Option<T>, Failure> {
    let Some(value) = get(key)? else { return Ok(None) };
    match value.parse() {
        Ok(parsed) => Ok(Some(parsed)),
        Err(error) => Err(Failure::Failed(format!("the agent's setting `{key}` is not usable: {error}"))),
    }
}

/// All settings, each with its name.
///
/// # Errors
/// [`Failure::Unavailable`] where the host could not read its settings.
pub fn all() -> Result<Vec<(String, String)>, Failure> {
    store::get_all().map_err(unavailable)
}

fn unavailable(error: store::Error) -> Failure {
    match error {
        store::Error::Upstream(message) | store::Error::Io(message) => {
            Failure::Unavailable(format!("the agent's settings cannot be read: {message}"))
        }
    }
}
