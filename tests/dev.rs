//! `stockade dev`: what an author saves is built and answers, and what does not build changes nothing.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::server::Start;
use crate::support::{Connection, PATIENCE, Request, Server, command, guests, poll_until, root};

/// An author's project in a folder of its own, and settings that serve it.
struct Author {
    folder: TempDir,
}

impl Author {
    /// A project whose agent answers with this.
    fn new(name: &str, answer: &str) -> Self {
        let author = Self { folder: tempfile::tempdir().expect("a folder") };
        let (project, root) = (author.project(), root());
        fs::create_dir_all(project.join("src")).expect("folders");
        fs::create_dir_all(project.join(".cargo")).expect("folders");
        // What all authors use is built once, and kept for the next run.
        let target = guests::folder().join("authors");
        fs::write(project.join(".cargo/config.toml"), format!("[build]\ntarget-dir = {target:?}\n"))
            .expect("cargo's settings");
        fs::copy(root.join("plugins/Cargo.lock"), project.join("Cargo.lock")).expect("the same versions");
        let sdk = root.join("plugins/sdk");
        let manifest = format!(
            "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[lib]\ncrate-type = [\"cdylib\"]\n\
             [dependencies]\nstockade-sdk = {{ path = {sdk:?} }}\n[workspace]\n"
        );
        fs::write(project.join("Cargo.toml"), manifest).expect("a manifest");
        author.save(&agent(answer));
        let component = target.join(format!("wasm32-wasip2/release/{name}.wasm"));
        // What an earlier run built is not what this author wrote.
        let _ = fs::remove_file(&component);
        let settings = format!(
            "[agents.{name}]\ncomponent = {component:?}\n[agents.echo]\ncomponent = {:?}\n",
            guests::guest("echo")
        );
        fs::write(author.settings(), settings).expect("settings");
        author
    }

    fn project(&self) -> PathBuf {
        self.folder.path().join("project")
    }

    fn settings(&self) -> PathBuf {
        self.folder.path().join("agents.toml")
    }

    /// Saves the agent's source as editors do: beside it, and then in its place.
    fn save(&self, source: &str) {
        let (file, beside) = (self.project().join("src/lib.rs"), self.project().join("src/.lib.rs.swp"));
        fs::write(&beside, source).expect("a source");
        fs::rename(beside, file).expect("in its place");
    }

    fn dev(&self) -> Server {
        let data = self.folder.path().join("data");
        guests::warm(&data);
        Start::file(&self.settings(), &data).dev(&self.project()).serve()
    }
}

/// An agent's source that answers with this.
fn agent(answer: &str) -> String {
    format!(
        "//! An agent.\nuse stockade_sdk::{{Agent, Description, Failure, Reply, Task}};\nstruct It;\n\
         impl Agent for It {{\n    fn describe() -> Description {{\n        \
         Description::new(\"It\", \"Answers.\").version(\"0.1.0\")\n    }}\n    \
         fn handle(_task: Task) -> Result<Reply, Failure> {{\n        Ok(Reply::text({answer:?}))\n    }}\n}}\n\
         stockade_sdk::agent!(It);\n"
    )
}

fn response(server: &Server, agent: &str) -> Option<String> {
    let answer = server.call(agent, "x");
    let body = answer.json();
    (answer.status == 200).then(|| body["response"].as_str().unwrap_or_default().to_owned())
}

#[track_caller]
fn wait_for_response(server: &Server, agent: &str, expected: &str) {
    poll_until(&format!("{agent} answers {expected:?}"), || {
        (response(server, agent).as_deref() == Some(expected)).then_some(())
    });
}

/// The lines of the log that say how builds failed.
fn failures(server: &Server) -> Vec<Value> {
    server.log_lines("a build failed", |line| line["message"] == "build failed")
}

#[test]
fn what_is_saved_is_built_and_answers_and_what_does_not_build_changes_nothing() {
    let author = Author::new("dev_saved", "the first");
    let server = author.dev();
    assert_eq!(response(&server, "dev_saved").as_deref(), Some("the first"), "it was built before it served");
    author.save(&agent("the second"));
    wait_for_response(&server, "dev_saved", "the second");

    author.save(&agent("never").replace("Ok(Reply", "Ok(Replly"));
    let failed = failures(&server);
    let words = failed[0]["output"].as_str().expect("the compiler's words");
    assert!(words.contains("Replly") && words.contains("src/lib.rs"), "{words}");
    assert_eq!(response(&server, "dev_saved").as_deref(), Some("the second"), "the last one that was built");

    author.save(&agent("the third"));
    wait_for_response(&server, "dev_saved", "the third");
    assert_eq!(response(&server, "echo").as_deref(), Some("x"));
}

#[test]
fn a_project_that_does_not_build_at_first_keeps_nothing_else_from_serving() {
    let author = Author::new("dev_broken", "never");
    author.save("fn broken(");
    let server = author.dev();
    let failed = failures(&server);
    assert!(failed[0]["output"].as_str().is_some_and(|words| words.contains("src/lib.rs")), "{failed:?}");
    assert_eq!(response(&server, "echo").as_deref(), Some("x"), "what can be served is");
    assert_eq!(response(&server, "dev_broken"), None);
    author.save(&agent("mended"));
    wait_for_response(&server, "dev_broken", "mended");
}

#[test]
fn a_save_during_a_build_is_built_after_it() {
    let author = Author::new("dev_hasty", "none yet");
    let server = author.dev();
    for save in 0..20 {
        author.save(&agent(&format!("save {save}")));
        std::thread::park_timeout(std::time::Duration::from_millis(60));
    }
    wait_for_response(&server, "dev_hasty", "save 19");
}

/// Runs `dev` for callers without a key, and gives what finds the next line that has a word.
fn lines_of_dev(author: &Author) -> (Running, impl Fn(&str) -> String) {
    let mut command = command::program();
    command.args(["dev", "--allow-anonymous", "--listen", "127.0.0.1:0"]);
    command.arg("--config").arg(author.settings()).arg("--plugins").arg(author.project());
    let mut running = Running(command.stderr(Stdio::piped()).spawn().expect("the program starts"));
    let (sender, lines) = mpsc::channel();
    let stderr = BufReader::new(running.0.stderr.take().expect("its standard error"));
    std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    let next = move |wanted: &str| loop {
        let line = lines.recv_timeout(PATIENCE * 5).expect(wanted);
        assert!(!line.contains('\u{1b}'), "no colours in a pipe: {line:?}");
        if line.contains(wanted) {
            return line;
        }
    };
    (running, next)
}

#[test]
fn settings_that_are_saved_during_the_first_build_take_effect() {
    let author = Author::new("dev_early", "hello");
    let (_running, next) = lines_of_dev(&author);
    next("building");
    let more = format!("[agents.late]\ncomponent = {:?}\n", guests::guest("echo"));
    let settings = fs::read_to_string(author.settings()).expect("settings") + &more;
    fs::write(author.settings(), settings).expect("settings");
    let serving = next("Serving on");
    let address: Option<SocketAddr> = serving.rsplit("http://").next().and_then(|at| at.parse().ok());
    let address = address.expect("an address");
    let request = Request::post("/orchestrator/execute", &json!({ "agent": "late", "query": "x" }));
    poll_until("the agent answers", || (Connection::open(address).ask(&request).status == 200).then_some(()));
}

#[test]
fn in_a_pipe_each_event_is_a_plain_line() {
    let author = Author::new("dev_lines", "hello");
    let (_running, next) = lines_of_dev(&author);
    let project = author.project().display().to_string();
    assert_eq!(next("building"), format!("building     {project}"));
    assert!(next("built").starts_with(&format!("built        {project}  1 component in ")));
    let serving = next("Serving on");
    let address: Option<SocketAddr> = serving.rsplit("http://").next().and_then(|at| at.parse().ok());
    next("loaded       dev_lines  ");
    let request = Request::post("/orchestrator/execute", &json!({ "agent": "dev_lines", "query": "x" }));
    let address = address.expect("an address");
    poll_until("the agent answers", || (Connection::open(address).ask(&request).status == 200).then_some(()));
    let answered = next("answered     dev_lines  ");
    for part in [" ms, fuel ", ", memory ", " KiB"] {
        assert!(answered.contains(part), "{answered}");
    }
}

/// The program as it runs, ended with its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_folder_that_is_not_there_is_said_before_anything_is_built() {
    let author = Author::new("dev_nowhere", "x");
    let settings = author.settings();
    let ran = command::stockade([
        Path::new("dev"),
        "--listen".as_ref(),
        "127.0.0.1:0".as_ref(),
        "--plugins".as_ref(),
        "/nowhere/plugins".as_ref(),
        "--config".as_ref(),
        settings.as_path(),
    ]);
    assert!(ran.err.contains("/nowhere/plugins") && ran.err.contains("--plugins"), "{}", ran.err);
    ran.expect(1);
}
