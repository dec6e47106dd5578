//! The names of events: what a program, and `dev`'s screen, knows a line of the log by.
//!
//! A name is metadata of the line that is logged (`tracing::info!(name: Event::TaskEnded.name(), ...)`), so that its
//! message is free to change and it costs nothing where it is not shown. JSON lines have it as `event`.

/// Declares the events and their names, and lists them all.
macro_rules! events {
    ($($(#[$doc:meta])+ $event:ident = $name:literal),+ $(,)?) => {
        /// Something that happened, which others than people have to recognise.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Event {
            $($(#[$doc])+ $event),+
        }

        impl Event {
            /// Every event.
            pub const ALL: &[Self] = &[$(Self::$event),+];

            /// Its name, such as `task.ended`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$event => $name),+
                }
            }

            /// The event of this name; `None` for a line that has no name of ours.
            pub fn of(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$event),)+
                    _ => None,
                }
            }
        }
    };
}

events! {
    /// A project is being built: `project`.
    BuildStarted = "build.started",
    /// It was built: `project`, `components`, `ms`, and what its tools wrote as `output`.
    BuildFinished = "build.finished",
    /// It could not be built: `project`, `output`.
    BuildFailed = "build.failed",
    /// A component was compiled: `digest`, `bytes`, `ms`.
    ComponentCompiled = "component.compiled",
    /// A version serves: `agent`, `version`, `generation`, `digest`, `ms`.
    AgentLive = "agent.live",
    /// A new version waits for approval: `agent`, `digest`, `wants`.
    AgentPending = "agent.pending",
    /// A version was replaced by the one before it: `agent`, `from`, `to`, `reason`, `generation`.
    AgentRolledBack = "agent.rolled_back",
    /// A version could not be loaded: `agent`, `component`, `reason`.
    AgentFailed = "agent.failed",
    /// An agent is gone: `agent`.
    AgentRemoved = "agent.removed",
    /// The agents of the start are loaded or have failed: `agents`, `failed`, `ms`.
    AgentsLoaded = "agents.loaded",
    /// Changed settings took effect: `added`, `changed`, `removed`, `keys`.
    SettingsApplied = "settings.applied",
    /// Changed settings take effect after a restart: `keys`.
    SettingsPending = "settings.pending",
    /// Changed settings were rejected: `reason`.
    SettingsRejected = "settings.rejected",
    /// A task ended, well or not: `agent`, `code`, `reason` and the receipt.
    TaskEnded = "task.ended",
    /// A task was rejected before any code of an agent ran: `agent`, `code`.
    TaskRejected = "task.rejected",
    /// An agent was refused a capability: `agent`, `capability`, `key_to_add`.
    CapabilityDenied = "capability.denied",
    /// A request was answered: `method`, `path`, `status`, `ms`, `agent`, `code`.
    RequestEnded = "request.ended",
}

/// The target of lines that agents wrote, which are no events of the host's.
pub const AGENT_LOG: &str = "agent";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    use super::*;

    #[test]
    fn names_are_unique_and_lead_back() {
        let names: BTreeSet<&str> = Event::ALL.iter().map(|event| event.name()).collect();
        assert_eq!(names.len(), Event::ALL.len());
        for event in Event::ALL {
            assert_eq!(Event::of(event.name()), Some(*event));
        }
        assert_eq!(Event::of("event host/src/app.rs:1"), None);
    }

    fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            match entry.path() {
                folder if folder.is_dir() => sources(&folder, found),
                file => found.push(file),
            }
        }
    }

    /// The screen matches every [`Event`]; here is that the host logs each of them, under its name.
    #[test]
    fn every_event_is_logged_somewhere() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut files = Vec::new();
        sources(&source, &mut files);
        let elsewhere = files.iter().filter(|file| !file.starts_with(source.join("telemetry")));
        let text: String = elsewhere.map(|file| std::fs::read_to_string(file).expect("UTF-8")).collect();
        let text: String = text.split_whitespace().collect();
        for event in Event::ALL {
            let logged = format!("name:Event::{event:?}.name()");
            assert!(text.contains(&logged), "{event:?} is logged nowhere");
        }
    }
}
