//! A key as a value that cannot be shown by accident.

use std::fmt;

use crate::domain::Digest;

/// What every key that we make begins with: secret scanners can look for it.
const PREFIX: &str = "sk_";
/// Random bytes in a key.
const RANDOM_BYTES: usize = 32;

/// A key. `Debug` hides it and there is no `Display`: showing it takes [`Secret::expose`].
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// The system gave no random bytes.
#[derive(Debug, thiserror::Error)]
#[error("could not make a key: the system gives no random bytes ({0})")]
pub struct RandomError(getrandom::Error);

impl Secret {
    /// Makes a key of 256 random bits: `sk_` and 64 hexadecimal digits.
    ///
    /// # Errors
    /// [`RandomError`] where the system has no randomness.
    pub fn random() -> Result<Self, RandomError> {
        let mut bytes = [0; RANDOM_BYTES];
        getrandom::fill(&mut bytes).map_err(RandomError)?;
        // A digest is written as hexadecimal digits; this one is no digest, but as many bytes.
        Ok(Self(format!("{PREFIX}{}", Digest::from_bytes(bytes))))
    }

    /// Takes a key that was read somewhere.
    pub fn new(key: impl Into<String>) -> Self {
        Self(key.into())
    }

    /// The key itself: for the one place that hands it to its owner.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The key's SHA-256, which is what is stored and compared.
    pub fn digest(&self) -> Digest {
        Digest::of(self.0.as_bytes())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_long_different_and_hidden() {
        let (a, b) = (Secret::random().expect("key"), Secret::random().expect("key"));
        assert_ne!(a, b);
        assert!(a.expose().starts_with(PREFIX) && a.expose().len() == PREFIX.len() + 64);
        assert_eq!(format!("{a:?}"), "Secret(..)");
        assert_eq!(a.digest(), Digest::of(a.expose().as_bytes()));
    }
}
