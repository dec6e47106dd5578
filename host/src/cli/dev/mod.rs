//! `stockade dev`: builds the plugins, serves, and builds again what was saved.
//!
//! The host reloads a component when its file changes, here as anywhere; this only makes the files.

mod builder;
mod project;

use std::path::PathBuf;

use clap::Args;

use super::serve::{self, ServeArgs};
use super::{Exit, Global, build, runtime};
use crate::app::{Compiler, Server, SettingsFile};
use crate::config::{self, Config, LogFormat, ProcessEnvironment};
use crate::telemetry::{self, Format};
use builder::Builder;

/// Arguments of `stockade dev`.
#[derive(Debug, Args)]
pub(super) struct DevArgs {
    /// The plugin projects to build and watch; without any, `plugins` next to the settings file
    #[arg(long, value_name = "PATH")]
    plugins: Vec<PathBuf>,
    #[command(flatten)]
    serve: ServeArgs,
}

/// Runs it.
pub(super) fn run(global: &Global, args: DevArgs) -> anyhow::Result<Exit> {
    let mut config = match global.load()? {
        Ok(config) => config,
        Err(exit) => return Ok(exit),
    };
    let adjust = move |config: &mut Config| {
        args.serve.apply(config);
        // The author wants to see the failure.
        config.reload.rollback = false;
    };
    let file = SettingsFile { path: global.config.clone(), adjust: Box::new(adjust) };
    (file.adjust)(&mut config);
    let compiler = Compiler::ChildForRequests { program: serve::this_program()? };
    let mut projects = args.plugins;
    if projects.is_empty() {
        let beside = build::beside(&global.config);
        projects.extend(beside.is_dir().then_some(beside));
    }
    // An author wants to see each task, whatever log level the service has.
    let level = if global.verbose { tracing::Level::DEBUG } else { tracing::Level::INFO };
    let format = if global.json { Format::Log(LogFormat::Json) } else { Format::Live };
    let logging = telemetry::init(format, level)?;
    config::unknown_variables(&ProcessEnvironment).iter().for_each(|warning| tracing::warn!("{warning}"));
    let runtime = runtime()?;
    let anonymous = config.auth.anonymous;
    // A project may hold both.
    let without = [config.server.data_dir.clone(), global.config.clone()].into();
    let ended = runtime.block_on(async {
        // An address that is in use is reported before a long build, not after it.
        let server = Server::bind(config, file, compiler).await?;
        let mut builder = Builder::start(projects, without)?;
        // And before it serves: what answers first is what was saved last.
        builder.build_all().await;
        logging.flush();
        serve::announce(global, &server, anonymous)?;
        let building = tokio::spawn(builder.run());
        let ended = serve::finish(server).await;
        building.abort();
        ended
    });
    // What still compiles is not waited for.
    runtime.shutdown_background();
    ended
}
