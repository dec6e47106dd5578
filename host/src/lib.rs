//! Stockade: a host for other people's agents.
//!
//! The modules in reading order; imports run one way, up this list. ARCHITECTURE.md has the map.

pub mod domain;
pub mod storage;

pub mod config;

pub mod bindings;
pub mod capabilities;
pub mod engine;
pub mod registry;
pub mod scheduler;

pub mod operations;

pub mod auth;
pub mod telemetry;

pub mod api;
pub mod app;
pub mod cli;
pub mod shutdown;
