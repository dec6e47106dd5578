//! Who may call: from a request's `Authorization` to a principal, and what may be started at all.
//!
//! Stands on `domain`, `config` and `storage`. Owns no state but the admin key's file in the data folder; the
//! [`Authenticator`] is immutable and replaced whole when the settings change. No key is ever kept
//! longer than it takes to hash it, and none appears in a message or in `Debug`.

mod admin_key;
mod authenticator;
mod secret;
mod startup;

pub use admin_key::{AdminKey, AdminKeyError, LOCAL_ADMIN, load_or_create};
pub use authenticator::{ANONYMOUS, AuthError, Authenticator};
pub use secret::{RandomError, Secret};
pub use startup::{Refusal, Startup, Warning, startup};
