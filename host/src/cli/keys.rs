//! `stockade keys`: makes keys for callers.
//!
//! The key is shown once and kept nowhere; agents.toml is given its SHA-256, by hand: the host never
//! rewrites that file.

use std::io::Write;

use anyhow::{Context as _, bail};
use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::auth::Secret;
use crate::config::{self, ROLES, check_key_name};
use crate::domain::{AgentScope, TenantId};

/// Make keys for callers.
#[derive(Debug, Args)]
pub(super) struct KeysArgs {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Make a key: it is printed once, with the table to add to agents.toml.
    Create(CreateArgs),
}

#[derive(Debug, Args)]
struct CreateArgs {
    /// The key's name; it stands in logs.
    #[arg(long)]
    name: String,
    /// The agents it may see and call: `*`, ids, patterns such as `team-*`, `category:NAME`; comma
    /// separated.
    #[arg(long, required = true, value_delimiter = ',')]
    scope: Vec<String>,
    /// `call` agents; `admin`: change those of its scope, too; `operator`: have the whole host (its scope
    /// is `*`).
    #[arg(long, default_value = "call", value_parser = PossibleValuesParser::new(ROLES))]
    role: String,
    /// Whose work its calls are; the tenant `default` unless given.
    #[arg(long)]
    tenant: Option<String>,
    /// The capabilities that agents may use on its behalf, comma separated; all unless given.
    #[arg(long, value_delimiter = ',')]
    capabilities: Vec<String>,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Created<'a> {
    key: &'a str,
    name: &'a str,
    sha256: String,
    toml: &'a str,
}

/// Runs `stockade keys`. The key goes to `out`, what to do with it to `err`; with `json` all of it is one
/// object on `out`. Answers the exit code.
///
/// # Errors
/// Everything that is wrong with the arguments, or that the system gives no randomness, or that the
/// outputs cannot be written to.
pub(super) fn run(
    args: KeysArgs,
    json: bool,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> anyhow::Result<u8> {
    let KeysCommand::Create(args) = args.command;
    check(&args)?;
    let secret = Secret::random()?;
    let block = block(&args, &secret);
    let written = if json {
        let created = Created {
            key: secret.expose(),
            name: &args.name,
            sha256: secret.digest().to_string(),
            toml: &block,
        };
        let text = serde_json::to_string(&created).context("could not write JSON")?;
        writeln!(out, "{text}").and_then(|()| out.flush())
    } else {
        writeln!(
            err,
            "The key, which is shown only this once, is on standard output. Add this to agents.toml:\n\n{block}"
        )
        .and_then(|()| writeln!(out, "{}", secret.expose()))
        .and_then(|()| out.flush())
    };
    written.context("could not write the key")?;
    Ok(0)
}

/// Everything that is wrong with the arguments, at once.
fn check(args: &CreateArgs) -> anyhow::Result<()> {
    let CreateArgs { name, scope, role, tenant, capabilities } = args;
    let mut wrong = Vec::new();
    if let Err(reason) = check_key_name(name) {
        wrong.push(format!("--name {reason}"));
    }
    for pattern in scope {
        if let Err(error) = AgentScope::parse([pattern.as_str()]) {
            wrong.push(format!("--scope: {error}"));
        }
    }
    if role == "operator" && !scope.iter().any(|pattern| pattern.trim() == "*") {
        wrong.push(
            "--role operator: an operator has every agent: give `--scope '*'`, or `--role admin`".to_owned(),
        );
    }
    if let Some(tenant) = tenant
        && TenantId::parse(tenant).is_err()
    {
        wrong.push(format!(
            "--tenant: `{tenant}` is not a tenant's id: use 1 to 64 of a-z, 0-9, `-` and `_`, beginning with \
            a letter or digit"
        ));
    }
    for name in capabilities.iter().filter(|name| *name != "*") {
        if let Err((message, help)) = config::capability(name) {
            wrong.push(format!("--capabilities: {message}; {help}"));
        }
    }
    if !wrong.is_empty() {
        bail!("could not make a key:\n  {}", wrong.join("\n  "));
    }
    Ok(())
}

/// The table for agents.toml.
fn block(args: &CreateArgs, secret: &Secret) -> String {
    let CreateArgs { name, scope, role, tenant, capabilities } = args;
    let mut lines = vec![
        "[[auth.keys]]".to_owned(),
        format!("name = {}", quoted(name)),
        format!("sha256 = \"{}\"", secret.digest()),
        format!("scope = {}", list(scope)),
    ];
    if role != "call" {
        lines.push(format!("role = {}", quoted(role)));
    }
    if let Some(tenant) = tenant {
        lines.push(format!("tenant = {}", quoted(tenant)));
    }
    if !capabilities.is_empty() {
        lines.push(format!("capabilities = {}", list(capabilities)));
    }
    lines.join("\n") + "\n"
}

/// One text, or a list of them.
fn list(texts: &[String]) -> String {
    match texts {
        [one] => quoted(one.trim()),
        several => {
            let quoted: Vec<String> = several.iter().map(|text| quoted(text.trim())).collect();
            format!("[{}]", quoted.join(", "))
        }
    }
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser;

    use super::*;
    use crate::auth::Authenticator;
    use crate::config::{NoEnvironment, parse};

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        keys: KeysArgs,
    }

    fn keys(json: bool, args: &[&str]) -> anyhow::Result<(String, String)> {
        let args = ["stockade", "create"].iter().chain(args);
        let cli = Cli::try_parse_from(args)?;
        let (mut out, mut err) = (Vec::new(), Vec::new());
        assert_eq!(run(cli.keys, json, &mut out, &mut err)?, 0);
        Ok((String::from_utf8(out)?, String::from_utf8(err)?))
    }

    #[test]
    fn the_block_lets_the_key_in() {
        let args = [
            "--name",
            "ci",
            "--scope",
            "calc, team-*,category:a \"b\"",
            "--role",
            "admin",
            "--tenant",
            "acme",
            "--capabilities",
            "system",
        ];
        let (out, err) = keys(false, &args).expect("made");
        let (key, block) = (out.trim_end(), &err[err.find("[[").expect("block")..]);
        assert!(key.len() >= 32 && !err.contains(key));
        let config = parse(block, "agents.toml", Path::new("/"), &NoEnvironment).expect("valid");
        let principal =
            Authenticator::new(&config.auth, None).authenticate(Some(key.as_bytes())).expect("in");
        assert_eq!((&*principal.key_id, principal.tenant.as_str()), ("ci", "acme"));
        assert_eq!(principal.role, crate::domain::Role::Admin);
        assert_eq!(principal.agent_scope.as_str(), "calc\ncategory:a \"b\"\nteam-*");
    }

    #[test]
    fn an_operator_has_every_agent() {
        let (out, err) = keys(false, &["--name", "ops", "--scope", "*", "--role", "operator"]).expect("made");
        let block = &err[err.find("[[").expect("block")..];
        let config = parse(block, "agents.toml", Path::new("/"), &NoEnvironment).expect("valid");
        let principal = Authenticator::new(&config.auth, None).authenticate(Some(out.trim_end().as_bytes()));
        assert_eq!(principal.expect("in").role, crate::domain::Role::Operator);
        let error = keys(false, &["--name", "ops", "--scope", "team-*", "--role", "operator"]);
        assert!(error.expect_err("wrong").to_string().contains("--role operator"));
        assert!(keys(false, &["--name", "ops", "--scope", "*", "--role", "root"]).is_err());
    }

    #[test]
    fn json_has_it_all() {
        let (out, err) = keys(true, &["--name", "ci", "--scope", "*"]).expect("made");
        let value: serde_json::Value = serde_json::from_str(&out).expect("json");
        let (key, toml) = (value["key"].as_str().expect("key"), value["toml"].as_str().expect("toml"));
        assert_eq!(value["sha256"], crate::domain::Digest::of(key.as_bytes()).to_string());
        assert!(toml.contains("scope = \"*\"") && !toml.contains(key) && err.is_empty());
    }

    #[test]
    fn everything_wrong_is_said_at_once() {
        let args = ["--name", "a b", "--scope", "A,*", "--tenant", "T", "--capabilities", "sistem"];
        let error = keys(false, &args).expect_err("wrong").to_string();
        for option in ["--name", "--scope", "--tenant", "--capabilities"] {
            assert!(error.contains(option), "{error}");
        }
        assert!(keys(false, &["--name", "env", "--scope", "*"]).is_err());
        assert!(keys(false, &["--name", "x"]).is_err());
    }
}
