//! Identifiers: small, immutable, cheap to clone, checked once where they come in.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Words that are routes below `/api/agents/` or `/agents/`, and so cannot be agents.
pub const RESERVED_IDS: &[&str] = &["status", "heartbeats", "generate"];

/// The tenant of everybody for whom none is configured.
const DEFAULT_TENANT: &str = "default";

/// The longest agent id, in characters.
const MAX_ID_CHARS: usize = 64;

/// Why a text is not an agent id; the message says what one looks like.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// The form is wrong.
    #[error(
        "`{0}` is not an agent id: use 1 to 64 of a-z, 0-9, `-` and `_`, beginning with a letter or digit"
    )]
    Form(String),
    /// The word is one of [`RESERVED_IDS`].
    #[error("`{0}` cannot be an agent id: it is part of the HTTP interface; choose another")]
    Reserved(String),
}

/// An agent's id: `[a-z0-9][a-z0-9_-]{0,63}`, and none of [`RESERVED_IDS`].
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AgentId(Arc<str>);

impl AgentId {
    /// Checks `text` and keeps it.
    ///
    /// # Errors
    /// [`InvalidId`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        let bytes = text.as_bytes();
        let head_ok = bytes.first().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let rest_ok =
            bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'));
        if !head_ok || !rest_ok || bytes.len() > MAX_ID_CHARS {
            return Err(InvalidId::Form(text.chars().take(80).collect()));
        }
        if RESERVED_IDS.contains(&text) {
            return Err(InvalidId::Reserved(text.to_owned()));
        }
        Ok(Self(text.into()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Declares a text newtype that displays and serialises as its text.
macro_rules! text_forms {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    )*};
}

text_forms!(AgentId, TenantId, RequestId);

/// Declares that an id is read as its text, which is checked.
macro_rules! read_forms {
    ($($name:ident),*) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    )*};
}

read_forms!(AgentId, TenantId);

/// A tenant's name. Everybody is of the tenant `default` until others are configured.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(Arc<str>);

impl TenantId {
    /// The tenant `default`.
    pub fn default_tenant() -> Self {
        Self(DEFAULT_TENANT.into())
    }

    /// Checks `text`, which has the form of an agent's id, and keeps it.
    ///
    /// # Errors
    /// [`InvalidId::Form`] where it has another form.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        match AgentId::parse(text) {
            Ok(AgentId(text)) => Ok(Self(text)),
            Err(InvalidId::Reserved(text)) => Ok(Self(text.into())),
            Err(error) => Err(error),
        }
    }

    /// Whether this is the tenant `default`.
    pub fn is_default(&self) -> bool {
        *self.0 == *DEFAULT_TENANT
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Which agent, over all tenants: ids are a tenant's own, so that two tenants can have an agent each of
/// one id.
///
/// It has no `Display`: clients see the id alone, and logs have both as the fields `tenant` and `agent`.
/// A clone is two reference counts.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AgentKey {
    /// Whose agent it is.
    pub tenant: TenantId,
    /// What its tenant calls it by.
    pub id: AgentId,
}

impl AgentKey {
    /// The key of the tenant's agent `id`.
    pub fn new(tenant: &TenantId, id: &AgentId) -> Self {
        Self { tenant: tenant.clone(), id: id.clone() }
    }
}

impl fmt::Debug for AgentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.id)
    }
}

/// A request's id: what the client sent as `x-request-id`, if sane, or one the host made.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// Takes a client's own id if it is 1 to 128 visible ASCII characters without quotes or backslash.
    pub fn from_client(text: &str) -> Option<Self> {
        let sane = (1..=128).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\' | b'\'' | b'`'));
        sane.then(|| Self(text.into()))
    }

    /// Makes an id from 128 random bits.
    pub fn from_random(bits: u128) -> Self {
        Self(format!("{bits:032x}").into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The SHA-256 of a component's bytes: what names a version of code.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::Digest as _;
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// Wraps a digest that was computed elsewhere.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads 64 hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// The digest's bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::from_hex(&text).ok_or_else(|| serde::de::Error::custom("expected 64 hexadecimal digits"))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agent_ids_have_one_form() {
        for good in ["a", "0", "vps-monitor", "autogen_agent_000", &"x".repeat(64)] {
            assert_eq!(AgentId::parse(good).map(|id| id.to_string()), Ok(good.to_owned()));
        }
        for bad in ["", "-a", "_a", "A", "a b", "ä", "a/b", &"x".repeat(65)] {
            assert!(matches!(AgentId::parse(bad), Err(InvalidId::Form(_))), "{bad}");
        }
        for word in RESERVED_IDS {
            assert_eq!(AgentId::parse(word), Err(InvalidId::Reserved((*word).to_owned())));
            assert!(TenantId::parse(word).is_ok());
        }
    }

    #[test]
    fn agents_of_one_id_differ_by_their_tenants_and_are_sorted_by_them() {
        let key = |tenant: &str, id: &str| AgentKey {
            tenant: TenantId::parse(tenant).expect("a tenant"),
            id: AgentId::parse(id).expect("an id"),
        };
        assert_ne!(key("acme", "echo"), key("default", "echo"));
        let keys: std::collections::BTreeSet<_> =
            [key("b", "a"), key("a", "z"), key("a", "b"), key("a", "z")].into();
        assert_eq!(keys.into_iter().collect::<Vec<_>>(), [key("a", "b"), key("a", "z"), key("b", "a")]);
        assert!(key("default", "echo").tenant.is_default() && !key("acme", "echo").tenant.is_default());
    }

    #[test]
    fn a_clients_request_id_is_taken_only_if_sane() {
        assert!(RequestId::from_client("req-123_a:b/c").is_some());
        for bad in ["", "a b", "a\"b", "a\u{e9}", "a\n", &"x".repeat(129)] {
            assert!(RequestId::from_client(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn a_digest_survives_its_text() {
        let digest = Digest::of(b"stockade");
        assert_eq!(Digest::from_hex(&digest.to_string()), Some(digest));
        assert_eq!(Digest::from_hex("zz"), None);
        assert_eq!(Digest::from_hex(&"+f".repeat(32)), None);
    }
}
