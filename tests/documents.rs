//! The documents say what the program does: settings, commands and options that there are, links that lead
//! somewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use stockade::api::ROUTES;

use crate::support::command::stockade;
use crate::support::root;

/// Folders with documents, and whether those below them count.
const FOLDERS: &[&str] = &[
    "",
    "docs",
    "benches",
    "host/router",
    "examples/agents",
    "tests/guests",
    "host/templates/rust",
    "host/templates/python",
    "host/templates/javascript",
    "host/templates/c",
];

/// Every document, by its path from the root.
fn documents() -> BTreeMap<PathBuf, String> {
    let mut documents = BTreeMap::new();
    for folder in FOLDERS {
        for entry in fs::read_dir(root().join(folder)).expect("a folder").flatten() {
            let path = Path::new(folder).join(entry.file_name());
            if path.extension().is_some_and(|extension| extension == "md") {
                documents.insert(path, fs::read_to_string(entry.path()).expect("UTF-8"));
            }
        }
    }
    documents
}

/// The tables in docs/settings.md stand between these.
const MARKS: (&str, &str) = ("<!-- settings -->", "<!-- /settings -->");

#[test]
fn the_settings_in_the_documents_are_the_settings_that_there_are() {
    let path = root().join("docs/settings.md");
    let page = fs::read_to_string(&path).expect("docs/settings.md");
    let (head, rest) = page.split_once(MARKS.0).expect("the first mark");
    let (table, tail) = rest.split_once(MARKS.1).expect("the second mark");
    let expected = stockade::config::reference();
    if std::env::var_os("STOCKADE_UPDATE_GOLDEN").is_some() {
        let text = format!("{head}{}\n{}\n{}{tail}", MARKS.0, expected.trim(), MARKS.1);
        fs::write(&path, text).expect("docs/settings.md is written");
        return;
    }
    let rows = |text: &str| -> Vec<String> {
        text.lines().map(str::trim_end).filter(|line| !line.is_empty()).map(str::to_owned).collect()
    };
    let again = "docs/settings.md: STOCKADE_UPDATE_GOLDEN=1 writes its tables again";
    for (written, meant) in rows(table).iter().zip(rows(&expected)) {
        assert_eq!(*written, meant, "{again}");
    }
    assert_eq!(rows(table).len(), rows(&expected).len(), "{again}");
}

/// The commands of the program, with what each says of its options.
fn commands() -> BTreeMap<String, String> {
    let help = stockade(["--help"]).expect(0);
    let list = help.split("Commands:").nth(1).and_then(|rest| rest.split("\n\n").next()).expect("commands");
    let names = list.lines().filter_map(|line| line.split_whitespace().next());
    let names = names.filter(|name| *name != "help");
    names.map(|name| (name.to_owned(), options(name))).collect()
}

/// What a command, and those below it, say of their options.
fn options(name: &str) -> String {
    let help = stockade([name, "--help"]).expect(0);
    let below = help.split("Commands:").nth(1).and_then(|rest| rest.split("\n\n").next()).unwrap_or("");
    let below: Vec<&str> = below.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let more =
        below.iter().filter(|word| **word != "help").map(|word| stockade([name, word, "--help"]).expect(0));
    more.fold(help.clone(), |all, help| all + &help)
}

#[test]
fn every_command_of_the_program_is_in_the_readme() {
    let readme = &documents()[Path::new("README.md")];
    for command in commands().keys() {
        assert!(
            readme.contains(&format!("`stockade {command}")),
            "README.md does not name `stockade {command}`"
        );
    }
}

#[test]
fn every_route_is_in_the_readme() {
    let readme = &documents()[Path::new("README.md")];
    for route in ROUTES {
        // What is below an agent may be named by its end, in the row of another.
        let end = route.path.strip_prefix("/api/agents/{id}").filter(|end| !end.is_empty());
        let named =
            |path: &str| ["`", "?", " "].iter().any(|after| readme.contains(&format!("{path}{after}")));
        let found = named(route.path) || end.is_some_and(|end| named(&format!("`{end}")));
        assert!(found, "README.md does not name {} {}", route.method, route.path);
    }
}

#[test]
fn the_documents_name_commands_and_options_that_there_are() {
    let commands = commands();
    let mut seen = 0;
    for (path, text) in documents() {
        // Inline code, and lines of code blocks.
        let inline = text.split("`stockade ").skip(1).map(|rest| rest.split('`').next().unwrap_or_default());
        let lines = text.lines().filter_map(|line| line.trim_start().strip_prefix("stockade "));
        for call in inline.chain(lines.map(|line| line.split(" #").next().unwrap_or_default())) {
            let mut words = call.split_whitespace();
            let Some(name) = words.next().filter(|word| word.bytes().all(|byte| byte.is_ascii_lowercase()))
            else {
                continue;
            };
            seen += 1;
            let help = commands.get(name);
            let help = help.unwrap_or_else(|| panic!("{}: no command `stockade {name}`", path.display()));
            for word in words {
                let option: String = word
                    .chars()
                    .skip_while(|c| *c == '[')
                    .take_while(|c| *c == '-' || c.is_ascii_lowercase())
                    .collect();
                if option.starts_with("--") && option.len() > 2 {
                    assert!(
                        help.contains(&option),
                        "{}: `stockade {call}`: no option {option}",
                        path.display()
                    );
                }
            }
        }
    }
    assert!(seen > 60, "{seen}");
}

/// The names by which a page's headings are linked to, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut code = false;
    let mut found = BTreeSet::new();
    for line in text.lines() {
        code ^= line.trim_start().starts_with("```");
        if let Some(title) = line.strip_prefix('#').filter(|_| !code) {
            let title = title.trim_start_matches('#').trim().to_lowercase();
            let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            found.insert(kept.map(|c| if c == ' ' { '-' } else { c }).collect());
        }
    }
    found
}

#[test]
fn every_link_leads_somewhere() {
    let documents = documents();
    let mut seen = 0;
    for (path, text) in &documents {
        for rest in text.split("](").skip(1) {
            let target = rest.split(')').next().unwrap_or_default();
            if target.contains("://") || target.contains(char::is_whitespace) {
                continue;
            }
            seen += 1;
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let folder = path.parent().expect("a folder");
            let meant = if file.is_empty() { path.clone() } else { folder.join(file) };
            let meant = root().join(meant).canonicalize();
            let meant = meant.unwrap_or_else(|error| panic!("{}: {target}: {error}", path.display()));
            if !anchor.is_empty() {
                let page = fs::read_to_string(&meant).expect("a page");
                assert!(anchors(&page).contains(anchor), "{}: no heading for {target}", path.display());
            }
        }
    }
    assert!(seen > 15, "{seen}");
}

/// Files of the source that ARCHITECTURE.md names, as `room/file.rs`, are there.
#[test]
fn the_architecture_names_files_that_there_are() {
    let text = &documents()[Path::new("ARCHITECTURE.md")];
    let mut seen = 0;
    for name in text.split('`').skip(1).step_by(2) {
        let is_path = name.contains('/') && name.ends_with(".rs") && !name.contains(['*', ' ', '{']);
        if !is_path || name.contains("NAME") {
            continue;
        }
        seen += 1;
        let there = [name.to_owned(), format!("host/src/{name}")];
        assert!(there.iter().any(|path| root().join(path).is_file()), "ARCHITECTURE.md names `{name}`");
    }
    assert!(seen > 40, "{seen}");
}

#[test]
fn every_page_of_docs_is_linked_from_the_readme() {
    let documents = documents();
    let readme = &documents[Path::new("README.md")];
    for path in documents.keys().filter(|path| path.starts_with("docs")) {
        let link = format!("]({}", path.display());
        assert!(readme.contains(&link), "README.md has no link to {}", path.display());
    }
}

#[test]
fn the_sample_fleet_has_no_problems() {
    let settings = root().join("agents.toml");
    stockade::config::load(&settings, &stockade::config::NoEnvironment).expect("agents.toml is right");
}
