//! Whether the host may serve at an address with the keys that it has. Pure; asked at the start and
//! again before changed settings are used.

use std::fmt;
use std::net::SocketAddr;

use crate::config::AuthConfig;

/// What to do before serving.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Startup {
    /// Whether the host's own admin key is wanted, since no other key is configured.
    pub needs_admin_key: bool,
    /// What to warn the operator of.
    pub warnings: Vec<Warning>,
}

/// Something that is allowed here, but not everywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// A key is shorter than 32 characters.
    ShortKey {
        /// The key's name.
        name: String,
    },
    /// Callers need no key.
    Anonymous,
}

/// Why the host does not serve, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No key is configured, and others can reach the address.
    #[error(
        "refusing to serve on {listen} without any key: make one with `stockade keys create --name NAME \
        --scope '*'` and add it to agents.toml, or set ORCHESTRATOR_API_KEY, or listen on 127.0.0.1"
    )]
    NoKey {
        /// Where HTTP was to be served.
        listen: SocketAddr,
    },
    /// Callers need no key, and others can reach the address.
    #[error(
        "refusing to serve on {listen} without asking for keys: remove `--allow-anonymous` and \
        `anonymous = true` in [auth], or listen on 127.0.0.1"
    )]
    Anonymous {
        /// Where HTTP was to be served.
        listen: SocketAddr,
    },
    /// A key is shorter than 32 characters, and others can reach the address.
    #[error(
        "refusing to serve on {listen} with the short key `{name}`: use one of at least 32 characters, such \
        as `stockade keys create` makes, or listen on 127.0.0.1"
    )]
    ShortKey {
        /// Where HTTP was to be served.
        listen: SocketAddr,
        /// The key's name.
        name: String,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ShortKey { name } => write!(
                f,
                "the key `{name}` has fewer than 32 characters: that is enough on this machine only"
            ),
            Self::Anonymous => {
                f.write_str("callers need no key: every program on this machine can call every agent")
            }
        }
    }
}

/// Decides whether to serve at `listen` with the keys of `config`.
///
/// # Errors
/// [`Refusal`] where others than this machine reach the address and the keys do not suffice for that.
pub fn startup(listen: SocketAddr, config: &AuthConfig) -> Result<Startup, Refusal> {
    let loopback = listen.ip().to_canonical().is_loopback();
    let short = config.keys.iter().filter(|key| key.short).map(|key| key.name.clone());
    let needs_admin_key = config.keys.is_empty();
    if loopback {
        let anonymous = config.anonymous.then_some(Warning::Anonymous);
        let short = short.map(|name| Warning::ShortKey { name });
        return Ok(Startup { needs_admin_key, warnings: anonymous.into_iter().chain(short).collect() });
    }
    if config.anonymous {
        return Err(Refusal::Anonymous { listen });
    }
    if needs_admin_key {
        return Err(Refusal::NoKey { listen });
    }
    match short.into_iter().next() {
        Some(name) => Err(Refusal::ShortKey { listen, name }),
        None => Ok(Startup::default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::KeyConfig;
    use crate::domain::{AgentScope, CapabilityScope, Digest, Role, TenantId};

    fn config(anonymous: bool, keys: &[bool]) -> AuthConfig {
        let key = |short: &bool| KeyConfig {
            name: "k".to_owned(),
            sha256: Digest::of(b"k"),
            role: Role::Call,
            tenant: TenantId::default_tenant(),
            scope: AgentScope::all(),
            capabilities: CapabilityScope::All,
            priority: 0,
            short: *short,
        };
        AuthConfig { anonymous, keys: keys.iter().map(key).collect() }
    }

    fn at(listen: &str, config: &AuthConfig) -> Result<Startup, Refusal> {
        startup(listen.parse().expect("address"), config)
    }

    #[test]
    fn on_loopback_everything_goes_with_a_warning() {
        for listen in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            let startup = at(listen, &config(false, &[])).expect("allowed");
            assert_eq!(startup, Startup { needs_admin_key: true, warnings: Vec::new() });
            let startup = at(listen, &config(true, &[true])).expect("allowed");
            assert!(!startup.needs_admin_key);
            let short = Warning::ShortKey { name: "k".to_owned() };
            assert_eq!(startup.warnings, [Warning::Anonymous, short]);
        }
    }

    #[test]
    fn elsewhere_only_long_keys_do() {
        for listen in ["0.0.0.0:1", "[::]:1", "192.168.1.1:1", "[::ffff:10.0.0.1]:1"] {
            assert!(matches!(at(listen, &config(false, &[])), Err(Refusal::NoKey { .. })));
            assert!(matches!(at(listen, &config(true, &[false])), Err(Refusal::Anonymous { .. })));
            assert!(matches!(at(listen, &config(false, &[false, true])), Err(Refusal::ShortKey { .. })));
            assert_eq!(at(listen, &config(false, &[false])), Ok(Startup::default()));
        }
    }
}
