//! A way to the HTTP interface: of a host that runs elsewhere, or of one made for this command.
//!
//! Both give the same answers, so that every command is written once and `--json` prints what
//! a client of the server would get.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use axum::body::Body;
use clap::Args;
use http::{HeaderMap, Method, Request, StatusCode, header};
use serde_json::Value;
use tower_service::Service;

use super::{Exit, Global, runtime};
use crate::app::{Host, Purpose};
use crate::auth::ADMIN_KEY_FILE;
use crate::domain::{AgentId, text};

/// Which host a command asks.
#[derive(Debug, Args)]
pub(super) struct ServerArgs {
    /// Ask the host that serves at this address, such as http://127.0.0.1:8001, instead of
    /// loading the agents of the settings file here
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// The file that holds the key for it
    #[arg(long, value_name = "FILE", requires = "server")]
    key_file: Option<std::path::PathBuf>,
}

/// Which agents a command needs, where it loads them itself.
pub(super) enum Needs<'a> {
    /// All of them.
    All,
    /// This one.
    Agent(&'a str),
}

/// An answer.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Value,
}

/// An answer, and where the rest of its list is.
struct Piece {
    answer: Answer,
    next: Option<String>,
}

impl Piece {
    fn new(status: StatusCode, headers: &HeaderMap, body: Value) -> Self {
        Self { answer: Answer { status, body }, next: next(headers) }
    }
}

/// The path of the next piece of a list, as `Link` names it.
fn next(headers: &HeaderMap) -> Option<String> {
    let link = headers.get(header::LINK)?.to_str().ok()?;
    let (path, relation) = link.strip_prefix('<')?.split_once('>')?;
    (relation.contains("rel=\"next\"") && path.starts_with('/')).then(|| path.to_owned())
}

impl Answer {
    /// Adds the rest of a list. A piece that failed goes in its place: half a list is no answer.
    fn go_on(&mut self, piece: Self) {
        match (&mut self.body, piece) {
            (Value::Array(all), Self { body: Value::Array(more), .. }) => all.extend(more),
            (_, piece) => *self = piece,
        }
    }

    /// How a command ends that only passes this answer on.
    pub(super) fn exit(&self) -> Exit {
        match (self.status.is_success(), self.body["code"].as_str()) {
            (true, _) => Exit::Done,
            (false, Some("no_agent_matched")) => Exit::NoMatch,
            (false, _) => Exit::Failed,
        }
    }

    /// The failure in words.
    pub(super) fn failure(&self) -> String {
        let code = self.body["code"].as_str().unwrap_or("no code");
        let message = self.body["message"].as_str().unwrap_or("the server gave no message");
        format!("error: {} ({})", text::set_in(message), text::line(code))
    }
}

/// Sends a request to the host that `server` names; the rest of a list is asked for, too. `Err(Exit)` if the
/// settings are wrong.
pub(super) fn ask(
    global: &Global,
    server: &ServerArgs,
    needs: Needs<'_>,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> anyhow::Result<Result<Answer, Exit>> {
    match &server.server {
        Some(url) => remote(url, server.key_file.as_deref(), method, path, body).map(Ok),
        None => local(global, needs, method, path, body),
    }
}

/// Sends one request to the host that serves: where `server` says, or where the settings file says,
/// with the key that it keeps there. `Err(Exit)` if the settings are wrong.
pub(super) fn ask_running(
    global: &Global,
    server: &ServerArgs,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> anyhow::Result<Result<Answer, Exit>> {
    if let Some(url) = &server.server {
        return remote(url, server.key_file.as_deref(), method, path, body).map(Ok);
    }
    let config = match global.load()? {
        Ok(config) => config,
        Err(exit) => return Ok(Err(exit)),
    };
    let url = format!("http://{}", config.server.listen);
    let own = config.server.data_dir.join(ADMIN_KEY_FILE);
    let key = own.is_file().then_some(own.as_path());
    let answer = remote(&url, key, method, path, body);
    answer.map(Ok).context(
        "is the host running? Elsewhere than the settings say, name it with `--server URL --key-file FILE`",
    )
}

fn remote(
    url: &str,
    key_file: Option<&Path>,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> anyhow::Result<Answer> {
    if !url.starts_with("http://") {
        bail!("`--server {url}`: give an address that begins with http://");
    }
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(600)))
        .build()
        .into();
    let mut key = None;
    if let Some(file) = key_file {
        let read = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read the key in {}", file.display()))?;
        key = Some(format!("Bearer {}", read.trim()));
    }
    let server = url.trim_end_matches('/');
    let ask = |path: &str| {
        let url = format!("{server}{path}");
        let mut request = Request::builder().method(&method).uri(&url);
        if let Some(key) = &key {
            request = request.header(header::AUTHORIZATION, key);
        }
        request = request.header(header::CONTENT_TYPE, "application/json");
        let request = request.body(body.map(Value::to_string).unwrap_or_default())?;
        let mut response = agent.run(request).with_context(|| format!("cannot reach {url}"))?;
        let body = response.body_mut().read_json().context("the server did not answer in JSON")?;
        anyhow::Ok(Piece::new(response.status(), response.headers(), body))
    };
    let Piece { mut answer, mut next } = ask(path)?;
    while let Some(path) = next {
        let piece = ask(&path)?;
        next = piece.next;
        answer.go_on(piece.answer);
    }
    Ok(answer)
}

fn local(
    global: &Global,
    needs: Needs<'_>,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> anyhow::Result<Result<Answer, Exit>> {
    let config = match global.load()? {
        Ok(config) => config,
        Err(exit) => return Ok(Err(exit)),
    };
    let runtime = runtime()?;
    let answer = runtime.block_on(async {
        let host = Host::new(config, Purpose::Ask)?;
        match needs {
            Needs::All => host.load_all().await,
            // An id that is none, or names nothing, gets the interface's own answer.
            Needs::Agent(id) => {
                if let Ok(id) = AgentId::parse(id) {
                    host.load_one(&id).await;
                }
            }
        }
        let (mut router, key) = host.in_process()?;
        let mut ask = async |path: &str| {
            let request = Request::builder()
                .method(&method)
                .uri(path)
                .header(header::HOST, "localhost")
                .header(header::CONTENT_TYPE, "application/json")
                .header(header::AUTHORIZATION, format!("Bearer {}", key.expose()))
                .body(Body::from(body.map(Value::to_string).unwrap_or_default()))?;
            let response = Service::call(&mut router, request).await.unwrap_or_else(|error| match error {});
            let (head, body) = response.into_parts();
            let bytes = axum::body::to_bytes(body, usize::MAX).await?;
            anyhow::Ok(Piece::new(head.status, &head.headers, serde_json::from_slice(&bytes)?))
        };
        let Piece { mut answer, mut next } = ask(path).await?;
        while let Some(path) = next {
            let piece = ask(&path).await?;
            next = piece.next;
            answer.go_on(piece.answer);
        }
        anyhow::Ok(answer)
    })?;
    Ok(Ok(answer))
}
