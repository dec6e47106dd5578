//! The command line: one file a subcommand. Results go to standard output, all else to
//! standard error.
//!
//! Arguments are parsed here and resolved in each command; no command knows another.

mod agents;
mod ask;
mod audit;
mod build;
mod call;
mod change;
mod check;
mod client;
mod compile;
mod completions;
mod confirm;
mod dev;
mod evaluate;
mod keys;
mod new;
mod output;
mod project;
mod route;
mod serve;
mod test;

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};

use crate::config::{self, Config, LoadError, LogFormat, ProcessEnvironment};
use crate::telemetry::{self, Logging};
use output::Output;

/// How a command ended, as the process's exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: it did what was asked.
    Done,
    /// 1: what was asked failed: a task, a build, a check.
    Failed,
    /// 2: the command line, or the settings, are wrong; nothing was done.
    Usage,
    /// 3: no agent matches the task.
    NoMatch,
}

impl Exit {
    /// The number that the shell sees.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NoMatch => 3,
        }
    }
}

/// Runs other people's agents: sandboxed, metered, routed to, and served over HTTP.
#[derive(Debug, Parser)]
#[command(name = "stockade", version, about, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done; 1 what was asked failed; 2 the command line or the \
    settings are wrong; 3 no agent matches the task.";

/// What every command takes.
#[derive(Debug, Args)]
struct Global {
    /// Print the result as JSON.
    #[arg(long, global = true)]
    json: bool,
    /// The settings file.
    #[arg(long, global = true, value_name = "FILE", default_value = "agents.toml")]
    config: PathBuf,
    /// Say more in the log.
    #[arg(long, short, global = true)]
    verbose: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build the plugins, serve them, and rebuild and reload them as they are saved
    Dev(dev::DevArgs),
    /// Serve the agents of the settings file over HTTP
    Serve(serve::ServeArgs),
    /// Make the project of a new agent
    New(new::NewArgs),
    /// Build plugin projects to components
    Build(build::BuildArgs),
    /// Check settings files and components, without serving
    Check(check::CheckArgs),
    /// Run the contract's test cases, and an author's own, against a component
    Test(test::TestArgs),
    /// Ask one agent
    Call(call::CallArgs),
    /// Show which agent a task is for
    Route(route::RouteArgs),
    /// Measure the router on labelled tasks
    Evaluate(evaluate::EvaluateArgs),
    /// List the agents and their status
    Agents(agents::AgentsArgs),
    /// Show who changed what, as the host that runs has it
    Audit(audit::AuditArgs),
    /// Let in a version that waits for approval, or one that was rolled back
    Approve(change::ApproveArgs),
    /// Go back to the version that served before
    Rollback(change::RollbackArgs),
    /// Make keys for clients
    Keys(keys::KeysArgs),
    /// Print a script that completes commands and options in a shell
    Completions(completions::CompletionsArgs),
    /// Compile one component; the host starts this
    #[command(hide = true)]
    CompileComponent(compile::CompileArgs),
}

/// Why a command could not do what it was asked, where programs have to distinguish reasons.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    /// The arguments do not go together; nothing was done.
    #[error("{message}")]
    Usage {
        /// What is wrong, and what to do.
        message: &'static str,
    },
    /// There is no host to ask.
    #[error("no host answers at {url} ({reason}): {remedy}")]
    Unreachable {
        /// Where it was looked for.
        url: String,
        /// What the system says.
        reason: String,
        /// What to do.
        remedy: String,
    },
}

impl CommandError {
    /// What programs know it by.
    fn code(&self) -> &'static str {
        match self {
            Self::Usage { .. } => "usage",
            Self::Unreachable { .. } => "host_unreachable",
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Usage { .. } => Exit::Usage,
            Self::Unreachable { .. } => Exit::Failed,
        }
    }
}

/// Parses the arguments, the program's own name first. `Err` is how the process ends where there is no command
/// to run: help was asked for, or the arguments are wrong, which has been reported.
///
/// # Errors
/// The exit code.
pub fn parse(arguments: impl IntoIterator<Item = std::ffi::OsString>) -> Result<Cli, Exit> {
    let arguments: Vec<_> = arguments.into_iter().collect();
    let json = arguments.iter().any(|argument| argument == "--json");
    Cli::try_parse_from(arguments).map_err(|error| {
        if error.use_stderr() && json {
            let message = error.render().to_string();
            // If standard output is closed the failure is lost.
            let _ = output::failure("usage", message.trim_end());
        } else {
            let _ = error.print();
        }
        if error.use_stderr() { Exit::Usage } else { Exit::Done }
    })
}

/// Runs the command that the process was started with; a failure is reported here.
pub fn run(cli: Cli) -> Exit {
    let output = cli.global.output();
    if !matches!(cli.command, Command::Serve(_) | Command::Dev(_) | Command::CompileComponent(_)) {
        config::unknown_variables(&ProcessEnvironment)
            .iter()
            .for_each(|warning| output::note(&format!("warning: {warning}")));
    }
    dispatch(cli).unwrap_or_else(|error| {
        let known = error.downcast_ref::<CommandError>();
        let (code, exit) = known.map_or(("failed", Exit::Failed), |known| (known.code(), known.exit()));
        let message = format!("{error:#}");
        // If standard output is closed the failure is lost.
        let _ = output.fail(code, &message);
        exit
    })
}

fn dispatch(cli: Cli) -> anyhow::Result<Exit> {
    let Cli { global, command } = cli;
    match command {
        Command::Dev(args) => dev::run(&global, args),
        Command::Serve(args) => serve::serve(&global, args),
        Command::New(args) => new::run(&global, &args),
        Command::Build(args) => build::run(&global, &args),
        Command::Check(args) => check::run(&global, &args),
        Command::Test(args) => test::run(&global, &args),
        Command::Call(args) => call::run(&global, args),
        Command::Route(args) => route::run(&global, args),
        Command::Evaluate(args) => evaluate::run(&global, &args),
        Command::Agents(args) => agents::run(&global, &args),
        Command::Audit(args) => audit::run(&global, &args),
        Command::CompileComponent(args) => Ok(compile::run(&args)),
        Command::Approve(args) => change::approve(&global, &args),
        Command::Rollback(args) => change::roll_back(&global, &args),
        Command::Completions(args) => completions::run(&global, &args),
        Command::Keys(args) => {
            let (mut out, mut err) = (std::io::stdout().lock(), std::io::stderr().lock());
            Ok(match keys::run(args, global.json, &mut out, &mut err)? {
                0 => Exit::Done,
                _ => Exit::Failed,
            })
        }
    }
}

impl Global {
    fn output(&self) -> Output {
        if self.json { Output::Json } else { Output::Text }
    }

    /// Reads the settings file; its problems are shown here, all at once.
    fn load(&self) -> anyhow::Result<Result<Config, Exit>> {
        load(&self.config, self.output())
    }

    /// Logging for a command that answers and ends: only trouble is worth a line.
    fn quiet_logging(&self) -> Option<Logging> {
        let level = if self.verbose { tracing::Level::DEBUG } else { tracing::Level::ERROR };
        telemetry::init(LogFormat::Text, level).ok()
    }
}

fn load(path: &Path, output: Output) -> anyhow::Result<Result<Config, Exit>> {
    match config::load(path, &ProcessEnvironment) {
        Ok(config) => Ok(Ok(config)),
        Err(error) => {
            match output {
                Output::Json => output.json(&problems(&error))?,
                Output::Text => output::note(&error.to_string()),
            }
            Ok(Err(Exit::Usage))
        }
    }
}

/// What is wrong with a settings file, for programs.
fn problems(error: &LoadError) -> serde_json::Value {
    match error {
        LoadError::Invalid(problems) => serde_json::json!(problems.problems),
        other => serde_json::json!([{ "message": other.to_string() }]),
    }
}

/// The threads of a command that works in-process.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let mut threads = tokio::runtime::Builder::new_multi_thread();
    // One more than there are processors: while short calls have their turns on the others, it answers.
    if let Ok(processors) = std::thread::available_parallelism() {
        threads.worker_threads(processors.get() + 1);
    }
    Ok(threads.enable_all().build()?)
}
