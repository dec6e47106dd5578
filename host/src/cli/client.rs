//! A way to the HTTP interface: of a host that runs elsewhere, or of one made for this command.
//!
//! Both give the same answers, so that every command is written once and `--json` prints what
//! a client of the server would get.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use axum::body::Body;
use clap::Args;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use serde_json::Value;
use tower_service::Service;

use super::{CommandError, Exit, Global, runtime};
use crate::app::{Host, Purpose};
use crate::config::{Environment, KEY_VARIABLE, ProcessEnvironment, SERVER_VARIABLE, variable};
use crate::domain::{AgentId, text};
use crate::storage::DataFolder;

/// The host that runs, which a command asks.
#[derive(Debug, Args)]
pub(super) struct ServerArgs {
    /// Ask the host that serves at this address, such as http://127.0.0.1:8001; STOCKADE_SERVER says the same
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// The file that holds the key for it; STOCKADE_KEY gives the key itself
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

/// Whether a command asks a host that runs, or loads the agents itself.
#[derive(Debug, Args)]
pub(super) struct PlaceArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Load the agents of the settings file here, whatever STOCKADE_SERVER says
    #[arg(long, conflicts_with_all = ["server", "key_file"])]
    local: bool,
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
    /// What to do about a failure, in addition to its message.
    hint: Option<String>,
}

/// An answer, and where the rest of its list is.
struct Piece {
    answer: Answer,
    next: Option<String>,
}

impl Piece {
    fn new(status: StatusCode, headers: &HeaderMap, body: Value) -> Self {
        Self { answer: Answer { status, body, hint: None }, next: next(headers) }
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

    /// Adds what to do about a failure, unless the answer has that.
    pub(super) fn advise(&mut self, hint: String) {
        self.hint.get_or_insert(hint);
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
        let hint = self.hint.as_ref().map(|hint| format!("\n    {}", text::line(hint))).unwrap_or_default();
        format!("error: {} ({}){hint}", text::set_in(message), text::line(code))
    }
}

/// Sends a request to the host that `place` or the environment names, or else to one made here; the rest of a
/// list is asked for, too. `Err(Exit)` if the settings are wrong.
pub(super) fn ask(
    global: &Global,
    place: &PlaceArgs,
    needs: Needs<'_>,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> anyhow::Result<Result<Answer, Exit>> {
    let remote = if place.local { None } else { place.server.named(&ProcessEnvironment)? };
    match remote {
        Some(remote) => remote.ask(method, path, body).map(Ok),
        None if place.server.key_file.is_some() => Err(NO_SERVER.into()),
        None => local(global, needs, method, path, body),
    }
}

/// The same, but that the host which runs is asked unless `place` says otherwise.
pub(super) fn ask_running(
    global: &Global,
    place: &PlaceArgs,
    needs: Needs<'_>,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> anyhow::Result<Result<Answer, Exit>> {
    if place.local {
        return local(global, needs, method, path, body);
    }
    match place.server.running(global)? {
        Ok(remote) => Ok(Ok(remote.or_local("--local").ask(method, path, body)?)),
        Err(exit) => Ok(Err(exit)),
    }
}

const NO_SERVER: CommandError = CommandError::Usage {
    message: "`--key-file` is for a host that runs: name it with `--server URL` or STOCKADE_SERVER",
};

/// A host that runs, and the key for it.
pub(super) struct Remote {
    url: String,
    key: Key,
    /// What to do if it does not answer.
    remedy: String,
}

/// A key, and where it came from, which alone is ever shown.
enum Key {
    None,
    Is { value: HeaderValue, from: String },
}

impl Key {
    /// Takes a key as it was given; `from` names the place.
    fn new(text: &str, from: String) -> anyhow::Result<Self> {
        let text = text.trim();
        let mut value = HeaderValue::try_from(format!("Bearer {text}")).ok().filter(|_| !text.is_empty());
        // The text itself is in no message: it may be a key with a typing error.
        let Some(value) = value.as_mut() else {
            bail!("{from} holds no key: visible characters on one line")
        };
        value.set_sensitive(true);
        Ok(Self::Is { value: value.clone(), from })
    }

    fn read(file: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read the key in {}", file.display()))?;
        Self::new(&text, file.display().to_string())
    }
}

impl ServerArgs {
    /// The host that the arguments name or, where they name none, the environment.
    fn named(&self, environment: &dyn Environment) -> anyhow::Result<Option<Remote>> {
        let (url, name) = match (&self.server, variable(environment, SERVER_VARIABLE)) {
            (Some(url), _) => (url.clone(), "--server"),
            (None, Some(url)) => (url, SERVER_VARIABLE),
            (None, None) => return Ok(None),
        };
        if !url.starts_with("http://") {
            bail!("`{name}` is `{url}`: give an address that begins with http://");
        }
        let key = self.key(environment)?.unwrap_or(Key::None);
        let remedy = format!("is it the right address, and does a host run there? `{name}` names it");
        Ok(Some(Remote { url: url.trim_end_matches('/').to_owned(), key, remedy }))
    }

    /// The key that the arguments give or, where they give none, the environment.
    fn key(&self, environment: &dyn Environment) -> anyhow::Result<Option<Key>> {
        match (&self.key_file, variable(environment, KEY_VARIABLE)) {
            (Some(file), _) => Key::read(file).map(Some),
            (None, Some(key)) => Key::new(&key, KEY_VARIABLE.to_owned()).map(Some),
            (None, None) => Ok(None),
        }
    }

    /// The host that runs: where the arguments or the environment say, or else where the settings file says,
    /// with the key that it keeps in its data folder. `Err(Exit)` if the settings are wrong.
    pub(super) fn running(&self, global: &Global) -> anyhow::Result<Result<Remote, Exit>> {
        let environment = &ProcessEnvironment;
        if let Some(remote) = self.named(environment)? {
            return Ok(Ok(remote));
        }
        let config = match global.load()? {
            Ok(config) => config,
            Err(exit) => return Ok(Err(exit)),
        };
        let (listen, file) = (config.server.listen, global.config.display());
        if listen.port() == 0 {
            bail!(
                "{file} leaves the port to the system: name the host with `--server URL` or {SERVER_VARIABLE}"
            );
        }
        let own = DataFolder::admin_key_in(&config.server.data_dir);
        let key = match self.key(environment)? {
            Some(key) => key,
            None if own.is_file() => Key::read(&own)?,
            None => Key::None,
        };
        let remedy = format!(
            "that is where {file} has its host: start it with `stockade serve`, or name another with `--server \
            URL` or {SERVER_VARIABLE}"
        );
        Ok(Ok(Remote { url: format!("http://{listen}"), key, remedy }))
    }
}

impl Remote {
    /// Says, if it does not answer, that `option` does without it.
    fn or_local(self, option: &str) -> Self {
        Self { remedy: format!("{}; `{option}` loads the agents here instead", self.remedy), ..self }
    }

    /// Sends a request; the rest of a list is asked for, too.
    ///
    /// # Errors
    /// [`CommandError::Unreachable`] if no host answers.
    pub(super) fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Answer> {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(600)))
            .build()
            .into();
        let ask = |path: &str| {
            let mut request = Request::builder().method(&method).uri(format!("{}{path}", self.url));
            if let Key::Is { value, .. } = &self.key {
                request = request.header(header::AUTHORIZATION, value);
            }
            request = request.header(header::CONTENT_TYPE, "application/json");
            let request = request.body(body.map(Value::to_string).unwrap_or_default())?;
            let mut response = agent.run(request).map_err(|reason| CommandError::Unreachable {
                url: self.url.clone(),
                reason: reason.to_string(),
                remedy: self.remedy.clone(),
            })?;
            let body = response.body_mut().read_json();
            let body = body.with_context(|| format!("what answers at {} does not speak JSON", self.url))?;
            anyhow::Ok(Piece::new(response.status(), response.headers(), body))
        };
        let Piece { mut answer, mut next } = ask(path)?;
        while let Some(path) = next {
            let piece = ask(&path)?;
            next = piece.next;
            answer.go_on(piece.answer);
        }
        if answer.status == StatusCode::UNAUTHORIZED {
            answer.hint = Some(match &self.key {
                Key::None => format!("no key was sent: give one with `--key-file FILE` or {KEY_VARIABLE}"),
                Key::Is { from, .. } => format!("the key of {from} is not one that this host knows"),
            });
        }
        Ok(answer)
    }
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
