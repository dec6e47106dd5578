//! The host that a command asks: one that runs, over HTTP, or one made for this command, in this process.
//!
//! Both give the same answers, so that every command is written once and `--json` prints what
//! a client of the server would get.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use serde_json::Value;

use super::ask::{Ask, Piece};
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

/// The path of the next piece of a list, as `Link` names it.
fn next(headers: &HeaderMap) -> Option<String> {
    let link = headers.get(header::LINK)?.to_str().ok()?;
    let (path, relation) = link.strip_prefix('<')?.split_once('>')?;
    (relation.contains("rel=\"next\"") && path.starts_with('/')).then(|| path.to_owned())
}

impl Answer {
    /// Adds the rest of a list. A piece that failed goes in its place: half a list is no answer.
    fn go_on(&mut self, status: StatusCode, body: Value) {
        match (&mut self.body, body) {
            (Value::Array(all), Value::Array(more)) => all.extend(more),
            (_, body) => *self = Self { status, body, hint: None },
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

/// Asks the host that `place` or the environment names, or else one made here; the rest of a list is asked for,
/// too. `Err(Exit)` if the settings are wrong.
pub(super) fn ask(
    global: &Global,
    place: &PlaceArgs,
    needs: Needs<'_>,
    what: &Ask,
) -> anyhow::Result<Result<Answer, Exit>> {
    let remote = if place.local { None } else { place.server.named(&ProcessEnvironment)? };
    match remote {
        Some(remote) => remote.ask_for(what).map(Ok),
        None if place.server.key_file.is_some() => Err(NO_SERVER.into()),
        None => local(global, needs, what),
    }
}

/// The same, but that the host which runs is asked unless `place` says otherwise.
pub(super) fn ask_running(
    global: &Global,
    place: &PlaceArgs,
    needs: Needs<'_>,
    what: &Ask,
) -> anyhow::Result<Result<Answer, Exit>> {
    if place.local {
        return local(global, needs, what);
    }
    match place.server.running(global)? {
        Ok(remote) => Ok(Ok(remote.or_local("--local").ask_for(what)?)),
        Err(exit) => Ok(Err(exit)),
    }
}

/// The whole of a list: `ask` gives the piece after the one that `next` came with.
fn whole(mut ask: impl FnMut(Option<&str>) -> anyhow::Result<Piece>) -> anyhow::Result<Answer> {
    let Piece { status, body, mut next } = ask(None)?;
    let mut answer = Answer { status, body, hint: None };
    while let Some(from) = next {
        let piece = ask(Some(&from))?;
        next = piece.next;
        answer.go_on(piece.status, piece.body);
    }
    Ok(answer)
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
        let agent = client();
        self.advised(whole(|next| self.send(&agent, &method, next.unwrap_or(path), body))?)
    }

    /// The same, but that of a list only the first piece is asked for.
    ///
    /// # Errors
    /// As [`Remote::ask`].
    pub(super) fn ask_piece(&self, method: Method, path: &str) -> anyhow::Result<Answer> {
        let Piece { status, body, .. } = self.send(&client(), &method, path, None)?;
        self.advised(Answer { status, body, hint: None })
    }

    fn ask_for(&self, what: &Ask) -> anyhow::Result<Answer> {
        let (method, path, body) = what.http()?;
        self.ask(method, &path, body.as_ref())
    }

    fn send(
        &self,
        agent: &ureq::Agent,
        method: &Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Piece> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.url));
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
        Ok(Piece { status: response.status(), body, next: next(response.headers()) })
    }

    /// Adds what to do where the key is not accepted.
    fn advised(&self, mut answer: Answer) -> anyhow::Result<Answer> {
        if answer.status == StatusCode::UNAUTHORIZED {
            answer.hint = Some(match &self.key {
                Key::None => format!("no key was sent: give one with `--key-file FILE` or {KEY_VARIABLE}"),
                Key::Is { from, .. } => format!("the key of {from} is not one that this host knows"),
            });
        }
        Ok(answer)
    }
}

fn client() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        // A host is asked where it is: whoever stands between would read the key.
        .proxy(None)
        .timeout_global(Some(Duration::from_secs(600)))
        .build()
        .into()
}

/// Asks a host that is made here, without HTTP.
fn local(global: &Global, needs: Needs<'_>, what: &Ask) -> anyhow::Result<Result<Answer, Exit>> {
    let config = match global.load()? {
        Ok(config) => config,
        Err(exit) => return Ok(Err(exit)),
    };
    let runtime = runtime()?;
    let operations = runtime.block_on(async {
        let host = Host::new(config, Purpose::Ask)?;
        match needs {
            Needs::All => host.load_all().await,
            // An id that is none, or names nothing, gets the operation's own answer.
            Needs::Agent(id) => {
                if let Ok(id) = AgentId::parse(id) {
                    host.load_one(&id).await;
                }
            }
        }
        anyhow::Ok(host.in_process())
    })?;
    whole(|cursor| runtime.block_on(what.here(&operations, cursor))).map(Ok)
}
