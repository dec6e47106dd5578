//! The data folder and what is kept in it: files, SQLite databases, blobs by digest.
//!
//! Owns the folder's lock and every open database. It knows files and SQLite generically, and not what an
//! agent or a task is: each room keeps its own SQL in its own `store.rs`. Stands on `domain` alone.

mod blobs;
mod data_folder;
mod database;
mod error;
pub mod files;

pub use blobs::{BlobError, Blobs, Kept};
pub use data_folder::{Access, DataFolder, LAYOUT};
pub use database::{Database, Schema, Step};
pub use error::StorageError;

/// This program, as it signs what it writes.
pub const PROGRAM: &str = concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"));
