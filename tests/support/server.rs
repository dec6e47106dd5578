//! A host as its users run it: a process of its own on a free port, with a data folder and an
//! agents.toml of its own. Gone when the value is dropped.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::wire::{Connection, Reply, Request};
use super::{command, guests, poll_until};

/// How a host is to be started.
pub(crate) struct Start {
    config: PathBuf,
    data_dir: PathBuf,
    folder: Option<TempDir>,
    command: &'static str,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    key: Option<String>,
    wait: bool,
    data_in_settings: bool,
    wrapper: Vec<String>,
    listen: String,
}

impl Start {
    /// With these settings, in which `<NAME>` is the path of a component ([`guests::settings`]).
    pub(crate) fn settings(template: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = folder.path().join("agents.toml");
        fs::write(&config, guests::settings(template)).expect("agents.toml");
        let start = Self::file(&config, &folder.path().join("data"));
        guests::warm(&start.data_dir);
        Self { folder: Some(folder), ..start }
    }

    /// With the settings in this file, and this data folder, which stays.
    pub(crate) fn file(config: &Path, data_dir: &Path) -> Self {
        Self {
            config: config.to_owned(),
            data_dir: data_dir.to_owned(),
            folder: None,
            command: "serve",
            arguments: Vec::new(),
            environment: Vec::new(),
            key: None,
            wait: true,
            data_in_settings: false,
            wrapper: Vec::new(),
            listen: "127.0.0.1:0".to_owned(),
        }
    }

    /// With `stockade dev` on this project.
    pub(crate) fn dev(mut self, project: &Path) -> Self {
        self.command = "dev";
        self.arguments.extend(["--plugins".to_owned(), project.display().to_string()]);
        self
    }

    /// Callers without a key are let in, and the requests of [`Server::ask`] bring none.
    pub(crate) fn anonymous(mut self) -> Self {
        self.arguments.push("--allow-anonymous".to_owned());
        self.key = Some(String::new());
        self
    }

    pub(crate) fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The key that [`Server::ask`] sends; without this, the host's own.
    pub(crate) fn key(mut self, key: &str) -> Self {
        self.key = Some(key.to_owned());
        self
    }

    /// The data folder is what the settings say, which is the one that was given here.
    pub(crate) fn data_in_settings(mut self) -> Self {
        self.data_in_settings = true;
        self
    }

    /// Another data folder, beside the settings.
    pub(crate) fn data_at(mut self, name: &str) -> Self {
        self.data_dir = self.config.with_file_name(name);
        self
    }

    /// Under a program that becomes the host, or starts it as itself.
    pub(crate) fn under(mut self, wrapper: impl IntoIterator<Item = String>) -> Self {
        self.wrapper = wrapper.into_iter().collect();
        self
    }

    /// At this address, instead of any free port.
    pub(crate) fn listen(mut self, address: &str) -> Self {
        self.listen = address.to_owned();
        self
    }

    /// Does not wait until the agents are loaded.
    pub(crate) fn at_once(mut self) -> Self {
        self.wait = false;
        self
    }

    /// Starts it, and waits until every agent is loaded or has failed.
    #[track_caller]
    pub(crate) fn serve(self) -> Server {
        let mut command = command::program_under(&self.wrapper);
        command.args([self.command, "--json", "--listen", &self.listen, "--config"]).arg(&self.config);
        if !self.data_in_settings {
            command.arg("--data-dir").arg(&self.data_dir);
        }
        command.args(&self.arguments);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let log = Arc::new(Mutex::new(String::new()));
        let reader = std::thread::spawn({
            let (log, stderr) = (log.clone(), child.stderr.take().expect("its standard error"));
            move || {
                for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
                    let mut log = log.lock().expect("nobody failed here");
                    log.push_str(&String::from_utf8_lossy(&line));
                    log.push('\n');
                }
            }
        });
        let mut first = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("its standard output"));
        stdout.read_line(&mut first).expect("its first line");
        let listening = serde_json::from_str::<Value>(&first).ok();
        let address = listening
            .as_ref()
            .and_then(|line| line["listening"].as_str()?.strip_prefix("http://")?.parse().ok());
        let Some(address) = address else {
            let _ = child.kill();
            let _ = child.wait();
            panic!("it does not listen: {first}{}", log.lock().expect("nobody failed here"));
        };
        let key = self.key.unwrap_or_else(|| {
            let own = fs::read_to_string(self.data_dir.join("admin.key"));
            own.expect("a host without keys makes one").trim().to_owned()
        });
        let server = Server {
            child,
            address,
            log,
            reader: Some(reader),
            stdout: Some(stdout),
            key,
            data_dir: self.data_dir,
            _folder: self.folder,
        };
        if self.wait {
            server.wait_until_ready();
        }
        server
    }
}

/// A host that runs.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    log: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
    stdout: Option<BufReader<std::process::ChildStdout>>,
    /// What [`Server::ask`] sends; empty for none.
    pub(crate) key: String,
    pub(crate) data_dir: PathBuf,
    _folder: Option<TempDir>,
}

impl Server {
    /// A host with these settings and a key of its own.
    #[track_caller]
    pub(crate) fn with(template: &str) -> Self {
        Start::settings(template).serve()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn connect(&self) -> Connection {
        Connection::open(self.address)
    }

    /// Sends a request with the key, on a connection of its own.
    #[track_caller]
    pub(crate) fn ask(&self, request: Request) -> Reply {
        self.connect().ask(&self.signed(request))
    }

    /// Sends a request as it is.
    #[track_caller]
    pub(crate) fn ask_plainly(&self, request: Request) -> Reply {
        self.connect().ask(&request)
    }

    /// The request with the key.
    pub(crate) fn signed(&self, request: Request) -> Request {
        if self.key.is_empty() { request } else { request.key(&self.key) }
    }

    #[track_caller]
    pub(crate) fn get(&self, target: &str) -> Reply {
        self.ask(Request::get(target))
    }

    #[track_caller]
    pub(crate) fn post(&self, target: &str, body: &Value) -> Reply {
        self.ask(Request::post(target, body))
    }

    /// Asks one agent.
    #[track_caller]
    pub(crate) fn call(&self, agent: &str, query: &str) -> Reply {
        self.post("/orchestrator/execute", &json!({ "agent": agent, "query": query }))
    }

    /// One agent in full.
    #[track_caller]
    pub(crate) fn agent(&self, id: &str) -> Value {
        self.get(&format!("/orchestrator/agents/{id}")).expect(200)
    }

    /// Waits until every agent is loaded or has failed.
    pub(crate) fn wait_until_ready(&self) {
        poll_until("the host is ready", || (self.get("/readyz").status == 200).then_some(()));
        poll_until("no agent is loading", || {
            let agents = self.get("/orchestrator/agents").json();
            let loading = |agent: &Value| agent["status"] == "loading";
            agents.as_array().is_none_or(|agents| !agents.iter().any(loading)).then_some(())
        });
    }

    /// Everything that it has written to standard error.
    pub(crate) fn log(&self) -> String {
        self.log.lock().expect("nobody failed here").clone()
    }

    /// The lines of its log that `wanted` accepts, once there is one.
    pub(crate) fn log_lines(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        poll_until(what, || {
            let lines: Vec<Value> = self
                .log()
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok())
                .filter(|line| wanted(line))
                .collect();
            (!lines.is_empty()).then_some(lines)
        })
    }

    /// Waits until `agent` runs and queues so many calls.
    pub(crate) fn wait_for_load(&self, agent: &str, running: u64, queued: u64) {
        poll_until(&format!("{agent} runs {running} calls and queues {queued}"), || {
            let page = self.agent(agent);
            (page["running"] == running && page["queued"] == queued).then_some(())
        });
    }

    /// Its resident memory, in bytes.
    pub(crate) fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("its status");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
        let kib: u64 = line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number");
        kib * 1024
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it without a warning, as the kernel does.
    pub(crate) fn kill(&self) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::KILL).expect("a signal");
    }

    /// The files that it has mapped into its memory.
    pub(crate) fn maps(&self) -> String {
        fs::read_to_string(format!("/proc/{}/maps", self.child.id())).expect("its memory's map")
    }

    /// Tells it to stop, as a service manager does.
    pub(crate) fn terminate(&self) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("a signal");
    }

    /// Waits until it has ended by itself: how, and all of its log.
    pub(crate) fn ended(mut self) -> (ExitStatus, String) {
        let child = &mut self.child;
        let status = poll_until("the host ends", || child.try_wait().expect("its status"));
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the log is read to its end");
        }
        let mut rest = String::new();
        if let Some(mut stdout) = self.stdout.take() {
            stdout.read_to_string(&mut rest).expect("standard output in UTF-8");
        }
        assert_eq!(rest, "", "nothing but the address goes to standard output");
        (status, self.log())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("the end of the host's log:\n{}", lines[lines.len().saturating_sub(40)..].join("\n"));
        }
    }
}
