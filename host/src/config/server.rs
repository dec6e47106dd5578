//! `[server]`: the HTTP side.

use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::entry::Entry;
use super::key::{HOUR, Key, Kind, count, count_otherwise, other, size, time};
use super::proxies::{self, TrustedProxies};
use super::quantity::{GIB, KIB, MIB};
use super::report::Report;
use super::section::Section;

/// `[server]`. Sizes in bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerConfig {
    /// `listen`: address and port. Default 127.0.0.1:8001.
    pub listen: SocketAddr,
    /// `data_dir`: where the host keeps its own files, absolute. Default `data` next to agents.toml.
    pub data_dir: PathBuf,
    /// `allowed_origins`: for browsers; `*` allows any. Default none.
    pub allowed_origins: Vec<String>,
    /// `trusted_proxies`: proxies that are believed about the client's address. Default none.
    pub trusted_proxies: TrustedProxies,
    /// `max_connections`: open at once. Default 1,024.
    pub max_connections: u32,
    /// `address_connections`: of one client's address; see [`ServerConfig::address_connections`].
    pub address_connections: Option<u32>,
    /// `key_requests`: of one key at once; see [`ServerConfig::key_requests`].
    pub key_requests: Option<u32>,
    /// `key_bodies`: of one key that are on their way at once; see [`ServerConfig::key_bodies`].
    pub key_bodies: Option<u32>,
    /// `max_answers`: bytes of answers that are not read yet. Default 512 MiB.
    pub max_answers: u64,
    /// `key_answers`: those of one key. Default 256 MiB.
    pub key_answers: u64,
    /// `header_timeout`: to send a request's head. Default 10 s.
    pub header_timeout: Duration,
    /// `body_timeout`: to send a request's body. Default 30 s.
    pub body_timeout: Duration,
    /// `idle_timeout`: a connection without a request is closed. Default 60 s.
    pub idle_timeout: Duration,
    /// `max_body`: of a request. Default 1 MiB.
    pub max_body: u64,
    /// `max_json_depth`: nesting of a request's JSON. Default 64.
    pub max_json_depth: u32,
    /// `max_batch`: items of a batch, at most 100. Default 100.
    pub max_batch: u32,
    /// `audit_records`: changes that the audit keeps. Default 100,000.
    pub audit_records: u32,
    /// `grace_period`: how long a shutdown waits for calls. Default 30 s.
    pub grace_period: Duration,
    /// `log_format`: `text` or `json`. Default text.
    pub log_format: LogFormat,
    /// `log_level`: `error`, `warn`, `info` or `debug`. Default info.
    pub log_level: tracing::Level,
}

impl ServerConfig {
    /// Connections that one client's address may hold at once: without a setting all of
    /// `max_connections` but a 64th, so that nobody has all. At least one.
    pub fn address_connections(&self) -> u32 {
        self.address_connections.unwrap_or_else(|| self.nearly_all())
    }

    /// Requests of one key at once: without a setting all of `max_connections` but a 64th. At least one.
    pub fn key_requests(&self) -> u32 {
        self.key_requests.unwrap_or_else(|| self.nearly_all())
    }

    /// Bodies of one key that are on their way at once: without a setting a quarter of `max_connections`.
    /// At least one.
    pub fn key_bodies(&self) -> u32 {
        self.key_bodies.unwrap_or((self.max_connections / 4).max(1))
    }

    fn nearly_all(&self) -> u32 {
        self.max_connections.saturating_sub((self.max_connections / 64).max(1)).max(1)
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

const LOG_FORMATS: &[&str] = &["text", "json"];
const LOG_LEVELS: &[&str] = &["error", "warn", "info", "debug"];

/// The keys of `[server]`.
pub(super) const KEYS: &[Key] = &[
    Key::new("listen", other("an IP address and a port"), "where HTTP is served; port 0 takes any free one")
        .default_in_words("`\"127.0.0.1:8001\"`")
        .at_restart(),
    Key::new("data_dir", other("a path"), "where the host keeps its own files; relative to agents.toml")
        .default_in_words("`\"data\"`")
        .at_restart(),
    Key::new(
        "allowed_origins",
        other("an origin, a list of origins, or `*`"),
        "web pages that may call from a browser (CORS); `*` allows any",
    )
    .default_in_words("`[]`"),
    Key::new(
        "trusted_proxies",
        other("an address, a network, or a list of them"),
        "proxies in front: the client's address is taken from what they say (`X-Forwarded-For`, `Forwarded`)",
    )
    .default_in_words("`[]`"),
    Key::new(
        "max_connections",
        count(1, 1_000_000, 1_024),
        "connections open at once; a few more are kept for health, and others wait a moment",
    ),
    Key::new(
        "address_connections",
        count_otherwise(1, 1_000_000),
        "those of one client's address; behind a trusted proxy its requests at once",
    )
    .default_in_words("all of `max_connections` but a 64th"),
    Key::new("key_requests", count_otherwise(1, 1_000_000), "requests of one key at once")
        .default_in_words("all of `max_connections` but a 64th"),
    Key::new(
        "key_bodies",
        count_otherwise(1, 1_000_000),
        "request bodies of one key that are on their way at once, for longer than 100 ms",
    )
    .default_in_words("a quarter of `max_connections`"),
    Key::new(
        "max_answers",
        size(32 * MIB, 1024 * GIB, 512 * MIB),
        "answers that are not read yet, all together; those up to 64 KiB are not counted, a batch takes 16 MiB",
    ),
    Key::new("key_answers", size(32 * MIB, 1024 * GIB, 256 * MIB), "those of one key"),
    Key::new("header_timeout", time(100, HOUR, 10_000), "to send a request's head"),
    Key::new("body_timeout", time(100, HOUR, 30_000), "to send a request's body"),
    Key::new("idle_timeout", time(100, HOUR, 60_000), "after which a connection without a request is closed"),
    Key::new("max_body", size(KIB, GIB, MIB), "the largest request body"),
    Key::new("max_json_depth", count(1, 127, 64), "how deep a request's JSON may nest"),
    Key::new("max_batch", count(1, 100, 100), "items in one batch"),
    Key::new("audit_records", count(1, 10_000_000, 100_000), "changes that the audit keeps; the oldest go"),
    Key::new("grace_period", time(0, HOUR, 30_000), "how long a shutdown waits for running calls"),
    Key::new(
        "log_format",
        Kind::Word { known: LOG_FORMATS, default: "text" },
        "log lines for people or as JSON",
    )
    .at_restart(),
    Key::new(
        "log_level",
        Kind::Word { known: LOG_LEVELS, default: "info" },
        "the least urgent lines that are logged",
    )
    .at_restart(),
];

/// Reads `[server]`.
pub(super) fn read(report: &mut Report<'_>, section: &Section<'_, '_>, base_dir: &Path) -> ServerConfig {
    ServerConfig {
        listen: section
            .get("listen")
            .and_then(|entry| listen(report, &entry))
            .unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8001))),
        data_dir: section
            .get("data_dir")
            .and_then(|entry| path(report, &entry, base_dir))
            .unwrap_or_else(|| absolute(base_dir, Path::new("data"))),
        allowed_origins: section
            .get("allowed_origins")
            .and_then(|entry| origins(report, &entry))
            .unwrap_or_default(),
        trusted_proxies: section
            .get("trusted_proxies")
            .and_then(|entry| proxies::read(report, &entry))
            .unwrap_or_default(),
        max_connections: section.count(report, "max_connections"),
        address_connections: section.count_if_set(report, "address_connections"),
        key_requests: section.count_if_set(report, "key_requests"),
        key_bodies: section.count_if_set(report, "key_bodies"),
        max_answers: section.number(report, "max_answers"),
        key_answers: section.number(report, "key_answers"),
        header_timeout: section.duration(report, "header_timeout"),
        body_timeout: section.duration(report, "body_timeout"),
        idle_timeout: section.duration(report, "idle_timeout"),
        max_body: section.number(report, "max_body"),
        max_json_depth: section.count(report, "max_json_depth"),
        max_batch: section.count(report, "max_batch"),
        audit_records: section.count(report, "audit_records"),
        grace_period: section.duration(report, "grace_period"),
        log_format: match section.get("log_format").and_then(|entry| entry.word(report, LOG_FORMATS)) {
            Some("json") => LogFormat::Json,
            _ => LogFormat::Text,
        },
        log_level: section
            .get("log_level")
            .and_then(|entry| entry.word(report, LOG_LEVELS))
            .and_then(|word| word.parse().ok())
            .unwrap_or(tracing::Level::INFO),
    }
}

fn listen(report: &mut Report<'_>, entry: &Entry<'_, '_>) -> Option<SocketAddr> {
    match parse_listen(entry.text(report)?) {
        Ok(listen) => Some(listen),
        Err(help) => {
            entry.wrong(report, "is not an address and port", help);
            None
        }
    }
}

fn origins(report: &mut Report<'_>, entry: &Entry<'_, '_>) -> Option<Vec<String>> {
    let texts = entry.text_or_list(report)?;
    let mut origins = Vec::with_capacity(texts.len());
    for (span, text) in texts {
        match parse_origin(text) {
            Ok(origin) => origins.push(origin),
            Err(help) => {
                report.wrong(span, &entry.path, format!("`{}`: this is not an origin", entry.path), help);
            }
        }
    }
    Some(origins)
}

/// A path in the file, made absolute.
pub(super) fn path(report: &mut Report<'_>, entry: &Entry<'_, '_>, base_dir: &Path) -> Option<PathBuf> {
    let text = entry.text(report)?;
    match check_path(text) {
        Ok(()) => Some(absolute(base_dir, Path::new(text))),
        Err((message, help)) => {
            entry.wrong(report, message, help);
            None
        }
    }
}

/// Reads `IP:PORT`; the error is a help line.
pub(super) fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    if let Ok(listen) = text.trim().parse() {
        return Ok(listen);
    }
    let example = "write an IP address and a port, such as \"127.0.0.1:8001\"";
    Err(match text.trim().rsplit_once(':') {
        Some(("localhost", port)) => {
            format!("write the address instead of its name: \"127.0.0.1:{port}\"")
        }
        Some(("" | "*", port)) => {
            format!("for every address write \"0.0.0.0:{port}\" or \"[::]:{port}\"")
        }
        _ => format!("{example}, or \"0.0.0.0:8001\" for every address"),
    })
}

/// Reads `*` or `scheme://host[:port]`; the error is a help line.
pub(super) fn parse_origin(text: &str) -> Result<String, String> {
    if text == "*" {
        return Ok(text.to_owned());
    }
    let lower = text.to_ascii_lowercase();
    let Some((scheme, host)) = lower.split_once("://") else {
        return Err("write scheme and host, such as \"https://app.example.com\", or \"*\"".to_owned());
    };
    if let Some((host, _)) = host.split_once('/') {
        return Err(format!(
            "an origin has no path, nor a `/` at its end: \"{scheme}://{}\"",
            host.escape_debug()
        ));
    }
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    let scheme_fits =
        !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    let name_fits =
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._[]:".contains(&b));
    let port_fits = port.is_none_or(|port| port.parse::<u16>().is_ok());
    if scheme_fits && name_fits && port_fits {
        return Ok(lower);
    }
    Err("an origin is a scheme, a host and perhaps a port, such as \"http://localhost:3000\"".to_owned())
}

/// Whether `text` can be the path of a file of ours; what is wrong with it, and help.
pub(super) fn check_path(text: &str) -> Result<(), (&'static str, String)> {
    if text.trim().is_empty() || text.contains('\0') {
        return Err(("is not a path", "write a file's path, such as \"plugins/monitor.wasm\"".to_owned()));
    }
    if text == "~" || text.starts_with("~/") {
        return Err(("begins with `~`, which is not expanded", "write the whole path".to_owned()));
    }
    if text.contains("://") {
        return Err(("is an address, not a path", "fetch the file and write its path".to_owned()));
    }
    Ok(())
}

/// `path` as it is seen from `base`, without `.` in it.
pub(super) fn absolute(base: &Path, path: &Path) -> PathBuf {
    base.join(path).components().filter(|part| !matches!(part, Component::CurDir)).collect()
}
