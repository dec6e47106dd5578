//! `stockade serve`: runs the host until a signal.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;

use super::output::{self, Output};
use super::{Exit, Global, runtime};
use crate::api::Ended;
use crate::app::{Compiler, Server, SettingsFile};
use crate::config::{self, Config, LogFormat, ProcessEnvironment};
use crate::telemetry::{self, Format};

/// Arguments of `stockade serve`.
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// The address to listen on, instead of the settings' own
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// The host's own folder, instead of the settings' own
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Let callers without a key in, on loopback only
    #[arg(long)]
    allow_anonymous: bool,
}

/// Serves. Components may be a stranger's: each is compiled in a process of its own.
pub(super) fn serve(global: &Global, args: ServeArgs) -> anyhow::Result<Exit> {
    let adjust = move |config: &mut Config| args.apply(config);
    let file = SettingsFile { path: global.config.clone(), adjust: Box::new(adjust) };
    let compiler = Compiler::Child { program: this_program()? };
    let mut config = match global.load()? {
        Ok(config) => config,
        Err(exit) => return Ok(exit),
    };
    (file.adjust)(&mut config);
    let level = if global.verbose { tracing::Level::DEBUG } else { config.server.log_level };
    let format = if global.json { LogFormat::Json } else { config.server.log_format };
    let _logging = telemetry::init(Format::Log(format), level)?;
    config::unknown_variables(&ProcessEnvironment).iter().for_each(|warning| tracing::warn!("{warning}"));
    let runtime = runtime()?;
    let ended = runtime.block_on(async {
        let anonymous = config.auth.anonymous;
        let server = Server::bind(config, file, compiler).await?;
        announce(global, &server, anonymous)?;
        finish(server).await
    });
    // What still compiles is not waited for.
    runtime.shutdown_background();
    ended
}

/// This program's file. Linux still finds it when a newer one has taken its place.
pub(super) fn this_program() -> std::io::Result<PathBuf> {
    let running = Path::new("/proc/self/exe");
    if running.exists() { Ok(running.to_owned()) } else { std::env::current_exe() }
}

impl ServeArgs {
    /// The settings with what was asked for on the command line.
    pub(super) fn apply(&self, config: &mut Config) {
        if let Some(listen) = self.listen {
            config.server.listen = listen;
        }
        if let Some(data_dir) = &self.data_dir {
            config.server.data_dir = std::path::absolute(data_dir).unwrap_or_else(|_| data_dir.clone());
        }
        config.auth.anonymous |= self.allow_anonymous;
    }
}

/// Says where a host answers, and how to ask it.
pub(super) fn announce(global: &Global, server: &Server, anonymous: bool) -> anyhow::Result<()> {
    let url = format!("http://{}", server.address);
    if let Some(key) = server.admin_key.as_ref().filter(|key| key.created) {
        output::note(&format!(
            "No key is configured, so a key of the role `operator` was made; it is shown this once and kept in {}:\n  {}",
            key.path.display(),
            key.secret.expose()
        ));
    }
    match global.output() {
        Output::Json => global.output().json(&serde_json::json!({ "listening": url }))?,
        Output::Text => {
            let key = match &server.admin_key {
                _ if anonymous => String::new(),
                Some(key) => format!(" -H \"Authorization: Bearer $(cat {})\"", shown(&key.path)),
                None => " -H \"Authorization: Bearer $KEY\"".to_owned(),
            };
            output::note(&format!(
                "Serving on {url}\n  curl {url}/orchestrator/smart-execute{key} -H 'Content-Type: application/json' -d '{{\"task\": \"Check CPU usage on the server\"}}'"
            ));
        }
    }
    Ok(())
}

/// Serves to the end.
pub(super) async fn finish(server: Server) -> anyhow::Result<Exit> {
    match server.run().await? {
        Ended::Drained => Ok(Exit::Done),
        Ended::Abandoned { requests } => {
            output::note(&format!("left with {requests} requests unfinished"));
            Ok(Exit::Failed)
        }
    }
}

/// A path as it can be typed here.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}
