//! The documents say what the program does.

use std::fs;

use crate::support::command::stockade;
use crate::support::root;

/// What a user reads first.
fn readme() -> String {
    fs::read_to_string(root().join("README.md")).expect("README.md")
}

#[test]
fn the_settings_in_the_readme_are_the_settings_that_there_are() {
    let readme = readme();
    let (start, end) = ("<!-- settings -->", "<!-- /settings -->");
    let table = readme.split(start).nth(1).and_then(|rest| rest.split(end).next());
    let table = table.unwrap_or_else(|| panic!("README.md has no {start} … {end}"));
    let expected = stockade::config::reference();
    let rows = |text: &str| -> Vec<String> {
        text.lines().map(str::trim_end).filter(|line| !line.is_empty()).map(str::to_owned).collect()
    };
    for (written, meant) in rows(table).iter().zip(rows(&expected)) {
        assert_eq!(*written, meant, "README.md: put the text of `stockade::config::reference()` there again");
    }
    assert_eq!(rows(table).len(), rows(&expected).len(), "README.md: rows are missing, or too many");
}

#[test]
fn every_command_of_the_program_is_in_the_readme() {
    let readme = readme();
    let help = stockade(["--help"]).expect(0);
    let commands =
        help.split("Commands:").nth(1).and_then(|rest| rest.split("\n\n").next()).expect("commands");
    for line in commands.lines().filter(|line| !line.trim().is_empty()) {
        let command = line.split_whitespace().next().expect("a command's name");
        if command != "help" {
            assert!(
                readme.contains(&format!("stockade {command}")),
                "README.md does not name `stockade {command}`"
            );
        }
    }
}

#[test]
fn the_sample_fleet_has_no_problems() {
    let settings = root().join("agents.toml");
    stockade::config::load(&settings, &stockade::config::NoEnvironment).expect("agents.toml is right");
}
