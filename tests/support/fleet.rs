//! A fleet whose files change while a host serves it: a folder with agents.toml, plugins and data,
//! which outlives its hosts.
//!
//! Files come as linkers and editors bring them: written aside and renamed, unless a test says
//! otherwise.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use stockade::domain::Digest;
use tempfile::TempDir;

use super::command::{Ran, stockade};
use super::server::{Server, Start};
use super::{guests, poll_until};

/// The folder, gone when it is dropped.
pub(crate) struct Fleet {
    folder: TempDir,
}

impl Fleet {
    /// With these settings; `plugins/NAME.wasm` in them is what [`Fleet::plugin`] writes.
    pub(crate) fn new(settings: &str) -> Self {
        let fleet = Self { folder: tempfile::tempdir().expect("a temporary folder") };
        fs::create_dir(fleet.path("plugins")).expect("a folder");
        guests::warm(&fleet.data());
        fleet.settings(settings);
        fleet
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// Saves agents.toml.
    pub(crate) fn settings(&self, template: &str) {
        self.save("agents.toml", guests::settings(template).as_bytes());
    }

    /// Saves a plugin's file; returns its digest.
    pub(crate) fn plugin(&self, name: &str, bytes: &[u8]) -> String {
        self.save(&format!("plugins/{name}.wasm"), bytes);
        digest(bytes)
    }

    fn save(&self, name: &str, bytes: &[u8]) {
        let aside = self.path(".aside");
        fs::write(&aside, bytes).expect("a file");
        fs::rename(&aside, self.path(name)).expect("a file in its place");
    }

    /// How to start a host on it.
    pub(crate) fn start(&self) -> Start {
        Start::file(&self.path("agents.toml"), &self.data())
    }

    pub(crate) fn serve(&self) -> Server {
        self.start().serve()
    }

    /// Runs a command that speaks to `server`, as its operator would.
    pub(crate) fn command(&self, server: &Server, words: &[&str]) -> Ran {
        let key = self.path("key");
        fs::write(&key, &server.key).expect("a key's file");
        let at = ["--server".to_owned(), server.url(), "--key-file".to_owned(), key.display().to_string()];
        stockade(words.iter().map(|&word| word.to_owned()).chain(at))
    }
}

/// A key's table in agents.toml; `rest` is what it says of scope and role, a line each.
pub(crate) fn key(name: &str, secret: &str, rest: &str) -> String {
    format!("[[auth.keys]]\nname = \"{name}\"\nsha256 = \"{}\"\n{rest}", digest(secret.as_bytes()))
}

/// The SHA-256 of a component, or of a key.
pub(crate) fn digest(bytes: &[u8]) -> String {
    Digest::of(bytes).to_string()
}

/// The same component under another digest: what it does is no different.
pub(crate) fn variant(component: &Path, number: u8) -> Vec<u8> {
    let mut bytes = fs::read(component).expect("a component");
    // A custom section: its size, the length of its name, the name.
    bytes.extend([0, 9, 7]);
    bytes.extend(b"variant");
    bytes.push(number);
    bytes
}

/// A version that answers every task with `(text)`.
pub(crate) fn plain(number: u8) -> Vec<u8> {
    variant(&guests::text("plain"), number)
}

/// A version that says it is of this category; what it does is no different.
pub(crate) fn of_category(category: &str, number: u8) -> Vec<u8> {
    let plain = std::fs::read_to_string(super::root().join("tests/guests/text/cores/plain.wat"));
    let core = plain
        .expect("a guest's text")
        .replace("(data (i32.const 1032) \"test\")", &format!("(data (i32.const 1032) {category:?})"))
        .replace("(i32.const 540) (i32.const 4)", &format!("(i32.const 540) (i32.const {})", category.len()));
    let mut bytes = guests::framed(&core);
    bytes.extend([0, 9, 7]);
    bytes.extend(b"variant");
    bytes.push(number);
    bytes
}

/// A version that fails at every task.
pub(crate) fn failing(number: u8) -> Vec<u8> {
    variant(&guests::text("reply-out-of-bounds"), number)
}

/// A version that imports `stockade:system`, and does what the query says.
pub(crate) fn wanting(number: u8) -> Vec<u8> {
    variant(&guests::guest("hostile"), number)
}

impl Server {
    /// Waits until `agent`'s page is as it should be.
    #[track_caller]
    pub(crate) fn wait_for_page(&self, agent: &str, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let path = format!("/orchestrator/agents/{agent}");
        let mut last = Value::Null;
        poll_until(&format!("{agent}: {what}"), || {
            last = self.get(&path).json();
            fits(&last).then(|| last.clone())
        })
    }

    /// Waits until this component serves `agent`.
    #[track_caller]
    pub(crate) fn wait_for_digest(&self, agent: &str, digest: &str) -> Value {
        self.wait_for_page(agent, &format!("{digest} serves"), |page| page["digest"] == digest)
    }

    /// Waits until this component waits for approval.
    #[track_caller]
    pub(crate) fn wait_for_pending(&self, agent: &str, digest: &str) -> Value {
        let what = format!("{digest} waits");
        self.wait_for_page(agent, &what, |page| page["pending"]["digest"] == digest)
    }

    /// Waits until the last load of `agent` has failed with all of these words.
    #[track_caller]
    pub(crate) fn wait_for_failure(&self, agent: &str, words: &[&str]) -> Value {
        self.wait_for_page(agent, &format!("a load fails with {words:?}"), |page| {
            let error = page["last_reload"]["error"].as_str().unwrap_or_default();
            !error.is_empty() && words.iter().all(|word| error.contains(word))
        })
    }

    /// Asks `agent` `calls` times; how often it failed through the code's own fault.
    pub(crate) fn call_often(&self, agent: &str, query: &str, calls: usize) -> usize {
        let mut connection = self.connect();
        let body = json!({ "agent": agent, "query": query });
        let request = self.signed(super::Request::post("/orchestrator/execute", &body));
        (0..calls).filter(|_| connection.ask(&request).status == 502).count()
    }
}
