//! From a request's `Authorization` to a principal.
//!
//! Immutable: when the settings change, another one takes its place.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use subtle::ConstantTimeEq as _;

use super::{LOCAL_ADMIN, Secret};
use crate::config::{AuthConfig, KeyConfig, MAX_KEY_CHARS};
use crate::domain::{Digest, Principal, Role};

/// The `key_id` of a caller without a key.
pub const ANONYMOUS: &str = "anonymous";

/// Why a caller is rejected. What is wrong with a key is not said: unknown, malformed and wrong ones
/// look the same to the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// There is no key.
    #[error("a key is required: send `Authorization: Bearer KEY`")]
    Missing,
    /// There is one, but it is none of ours.
    #[error("the key is not valid")]
    Invalid,
}

/// Knows every key, by its hash.
///
/// A key is looked up by the first eight bytes of its SHA-256, and what is found there is compared in
/// constant time. The lookup's own time depends on the hash of what was sent, never on a stored key: who
/// measures it learns at most whether some stored hash begins like the hash of their guess, and no guess
/// can be steered towards a hash byte by byte.
pub struct Authenticator {
    keys: HashMap<u64, Vec<(Digest, Arc<Principal>)>>,
    anonymous: Option<Arc<Principal>>,
}

impl Authenticator {
    /// Knows the keys of `config`, and `admin` where the host made one itself.
    pub fn new(config: &AuthConfig, admin: Option<&Secret>) -> Self {
        let AuthConfig { anonymous, keys } = config;
        let anonymous =
            anonymous.then(|| Arc::new(Principal { role: Role::Call, ..Principal::operator(ANONYMOUS) }));
        let mut known = Self { keys: HashMap::with_capacity(keys.len() + 1), anonymous };
        for key in keys {
            known.add(key.sha256, principal(key));
        }
        if let Some(admin) = admin {
            let key = Some(admin.digest());
            known.add(admin.digest(), Principal { key, ..Principal::operator(LOCAL_ADMIN) });
        }
        known
    }

    /// Who sends this `Authorization`: `Bearer KEY` or `KEY`. `None` is a request without the header; one
    /// with several of them should be refused before it comes here.
    ///
    /// # Errors
    /// [`AuthError::Missing`] where there is no key and anonymous callers are not accepted;
    /// [`AuthError::Invalid`] for every other failure, also where anonymous callers are accepted.
    pub fn authenticate(&self, authorization: Option<&[u8]>) -> Result<Arc<Principal>, AuthError> {
        let header = authorization.map(<[u8]>::trim_ascii).filter(|header| !header.is_empty());
        let Some(header) = header else {
            return self.anonymous.clone().ok_or(AuthError::Missing);
        };
        let key = key_of(header).ok_or(AuthError::Invalid)?;
        self.holder(&Digest::of(key)).cloned().ok_or(AuthError::Invalid)
    }

    /// Who this principal, which was accepted before, is now: with the rights that its key has now. `None`
    /// if it would not be accepted any more.
    pub fn current(&self, principal: &Principal) -> Option<Arc<Principal>> {
        self.holding(principal.key.as_ref())
    }

    /// Who holds the key of this digest now; without one, whoever comes without a key. `None` if nobody is
    /// let in with it.
    pub fn holding(&self, key: Option<&Digest>) -> Option<Arc<Principal>> {
        match key {
            Some(key) => self.holder(key).cloned(),
            None => self.anonymous.clone(),
        }
    }

    fn holder(&self, digest: &Digest) -> Option<&Arc<Principal>> {
        let mut found = None;
        for (stored, principal) in self.keys.get(&bucket(digest)).into_iter().flatten() {
            if bool::from(stored.as_bytes().ct_eq(digest.as_bytes())) {
                found = Some(principal);
            }
        }
        found
    }

    /// Whether callers without a key are accepted.
    pub fn accepts_anonymous(&self) -> bool {
        self.anonymous.is_some()
    }

    fn add(&mut self, digest: Digest, principal: Principal) {
        self.keys.entry(bucket(&digest)).or_default().push((digest, Arc::new(principal)));
    }
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: usize = self.keys.values().map(Vec::len).sum();
        f.debug_struct("Authenticator")
            .field("keys", &keys)
            .field("anonymous", &self.accepts_anonymous())
            .finish()
    }
}

/// The key in a trimmed header: behind `Bearer`, in any case, or all of it. `None` where it can be none.
fn key_of(header: &[u8]) -> Option<&[u8]> {
    let blank = header.iter().position(u8::is_ascii_whitespace);
    let key = match blank.map(|at| header.split_at(at)) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case(b"bearer") => rest.trim_ascii_start(),
        Some(_) => return None,
        None => header,
    };
    let fits = key.len() <= MAX_KEY_CHARS && key.iter().all(u8::is_ascii_graphic);
    fits.then_some(key)
}

fn bucket(digest: &Digest) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *digest.as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

fn principal(key: &KeyConfig) -> Principal {
    let KeyConfig { name, sha256, role, tenant, scope, capabilities, priority, short: _ } = key;
    Principal {
        tenant: tenant.clone(),
        key_id: name.as_str().into(),
        key: Some(*sha256),
        role: *role,
        agent_scope: scope.clone(),
        capability_scope: capabilities.clone(),
        priority: *priority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{AgentScope, CapabilityScope, TenantId};

    fn config(anonymous: bool) -> AuthConfig {
        let key = |name: &str, secret: &str| KeyConfig {
            name: name.to_owned(),
            sha256: Digest::of(secret.as_bytes()),
            role: Role::Call,
            tenant: TenantId::default_tenant(),
            scope: AgentScope::parse(["calc"]).expect("scope"),
            capabilities: CapabilityScope::All,
            priority: 3,
            short: false,
        };
        AuthConfig { anonymous, keys: vec![key("one", "first-key"), key("two", "second-key")] }
    }

    fn who(auth: &Authenticator, header: &str) -> Result<String, AuthError> {
        auth.authenticate(Some(header.as_bytes())).map(|principal| principal.key_id.to_string())
    }

    #[test]
    fn keys_come_with_or_without_a_scheme() {
        let auth = Authenticator::new(&config(false), None);
        for header in ["Bearer second-key", "bearer  second-key ", "BEARER\tsecond-key", " second-key "] {
            assert_eq!(who(&auth, header), Ok("two".to_owned()), "{header:?}");
        }
        let principal = auth.authenticate(Some(b"first-key")).expect("known");
        assert_eq!((principal.role, principal.priority), (Role::Call, 3));
        assert_eq!(principal.agent_scope.as_str(), "calc");
    }

    #[test]
    fn every_bad_key_fails_alike_even_where_anonymous_is_fine() {
        let long = "x".repeat(10_000);
        for anonymous in [false, true] {
            let auth = Authenticator::new(&config(anonymous), None);
            for header in [
                "Bearer wrong",
                "wrong",
                "Bearer",
                "Basic second-key",
                "Bearer second-key x",
                "second-ke",
                "second-keyy",
                "Bearersecond-key",
                "Bearer \u{e9}",
                "\"second-key\"",
                &long,
            ] {
                assert_eq!(who(&auth, header), Err(AuthError::Invalid), "{header:?}");
            }
        }
    }

    #[test]
    fn no_key_is_fine_only_where_anonymous_is() {
        let closed = Authenticator::new(&config(false), None);
        assert!(!closed.accepts_anonymous());
        for header in [None, Some(b"".as_slice()), Some(b"  ".as_slice())] {
            assert_eq!(closed.authenticate(header).map(|_| ()), Err(AuthError::Missing));
        }
        let open = Authenticator::new(&config(true), None);
        assert!(open.accepts_anonymous());
        let principal = open.authenticate(None).expect("anonymous");
        assert_eq!((&*principal.key_id, principal.role), (ANONYMOUS, Role::Call));
        assert!(principal.agent_scope.is_all());
    }

    #[test]
    fn the_hosts_own_key_is_an_operators() {
        let secret = Secret::random().expect("key");
        let auth = Authenticator::new(&AuthConfig::default(), Some(&secret));
        let principal = auth.authenticate(Some(secret.expose().as_bytes())).expect("admin");
        assert_eq!((&*principal.key_id, principal.role), (LOCAL_ADMIN, Role::Operator));
    }

    #[test]
    fn debug_shows_no_hash() {
        let text = format!("{:?}", Authenticator::new(&config(true), None));
        assert_eq!(text, "Authenticator { keys: 2, anonymous: true }");
    }
}
