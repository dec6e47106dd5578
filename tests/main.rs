//! What a user would notice, tried on real components, real sockets and the real program.
//!
//! One module a topic; `support` has what they share: guests and plugins built once, hosts that
//! are gone when a test ends, a client that can also misbehave. A test waits for what it waits for,
//! never for a time, and every wait has an end.
// Helpers of tests may fail as tests do: by saying what went wrong.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::print_stderr)]

mod support;

mod agents_page;
mod approving;
mod attack;
mod audit;
mod audit_races;
mod auth;
mod authoring;
mod batch;
mod browsers;
mod cache;
mod changes;
mod clients;
mod command_line;
mod compiling;
mod connections;
mod crash;
mod data_folder;
mod dev;
mod documents;
mod durability;
mod failures;
mod faults;
mod gate;
mod inline;
mod large_changes;
mod layers;
mod limits;
mod live_settings;
mod loading;
mod metering;
mod metrics;
mod noise;
mod proxies;
mod queues;
mod quick_start;
mod readiness;
mod registering;
mod reload;
mod roles;
mod routing;
mod sandbox;
mod schemas;
mod self_tests;
mod shares;
mod shutdown;
mod slots;
mod started;
mod strangers;
mod tenants;
mod testing;
mod texts;
mod traps;
mod upgrade;
mod versions;
mod withdrawn;
