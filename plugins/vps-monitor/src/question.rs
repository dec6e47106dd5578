//! What a question asks for: which topics, which processes, which disks.
//!
//! Owns no state; pure. It must not guess what a question that names nothing of a server could mean.

use stockade_sdk::system::Order;

/// One kind of figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Topic {
    Cpu,
    Memory,
    Disk,
    Load,
    Network,
    Uptime,
    Machine,
    Processes,
}

/// A question that was understood.
#[derive(Debug)]
pub(crate) struct Question {
    /// What to answer with, in this order.
    pub(crate) topics: Vec<Topic>,
    /// Whether the server as a whole was asked about.
    pub(crate) overall: bool,
    /// What processes are counted by.
    pub(crate) order: Order,
    /// How many processes: 1 to 100.
    pub(crate) limit: u32,
    /// Folders that were named, such as `/data`.
    pub(crate) paths: Vec<String>,
}

const WORDS: &[(Topic, &[&str])] = &[
    (Topic::Cpu, &["cpu", "cpus", "processor", "processors", "core", "cores", "vcpu", "busy"]),
    (Topic::Memory, &["memory", "mem", "ram", "swap", "swapping"]),
    (
        Topic::Disk,
        &[
            "disk",
            "disks",
            "storage",
            "space",
            "filesystem",
            "filesystems",
            "partition",
            "partitions",
            "volume",
            "volumes",
            "mount",
            "mounts",
            "mounted",
            "drive",
            "drives",
            "ssd",
            "df",
            "full",
        ],
    ),
    (Topic::Load, &["load", "loads", "loadavg", "loaded", "busy"]),
    (
        Topic::Network,
        &[
            "network",
            "traffic",
            "bandwidth",
            "interface",
            "interfaces",
            "nic",
            "packets",
            "eth0",
            "networking",
        ],
    ),
    (Topic::Uptime, &["uptime", "reboot", "reboots", "rebooted", "boot", "booted", "restarted"]),
    (
        Topic::Machine,
        &["kernel", "hostname", "os", "distro", "distribution", "linux", "architecture", "arch", "hardware"],
    ),
    (
        Topic::Processes,
        &["process", "processes", "proc", "program", "programs", "hog", "hogs", "hogging", "top"],
    ),
];

const PHRASES: &[(Topic, &[&str])] = &[
    (Topic::Uptime, &["how long has", "how long is", "been up", "been running", "up since", "last restart"]),
    (Topic::Machine, &["operating system", "which machine", "what machine"]),
    (
        Topic::Processes,
        &[
            "what is using",
            "what s using",
            "what uses",
            "who is using",
            "what is eating",
            "what s eating",
            "what is consuming",
            "what s consuming",
            "what is running",
            "what s running",
            "what is taking",
            "uses the most",
            "using the most",
            "eating the most",
            "consuming the most",
            "using up",
            "eating up",
        ],
    ),
];

/// Words that ask about the server as a whole, where nothing more precise was named.
const OVERALL: &[&str] = &[
    "server",
    "servers",
    "vps",
    "machine",
    "host",
    "system",
    "box",
    "health",
    "healthy",
    "status",
    "overview",
    "summary",
    "metrics",
    "monitor",
    "monitoring",
    "vitals",
    "resource",
    "resources",
    "usage",
    "everything",
    "stats",
    "performance",
    "slow",
    "ok",
    "okay",
];

/// Words that ask for everything even beside a precise topic.
const EVERYTHING: &[&str] = &["everything", "overview", "summary"];

const NUMBERS: &[(&str, u32)] = &[
    ("one", 1),
    ("two", 2),
    ("three", 3),
    ("four", 4),
    ("five", 5),
    ("six", 6),
    ("seven", 7),
    ("eight", 8),
    ("nine", 9),
    ("ten", 10),
    ("twenty", 20),
];

impl Topic {
    /// The topic's name, as a line about it begins.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Cpu => "CPU",
            Self::Memory => "Memory",
            Self::Disk => "Disk",
            Self::Load => "Load",
            Self::Network => "Network",
            Self::Uptime => "Uptime",
            Self::Machine => "Machine",
            Self::Processes => "Processes",
        }
    }
}

impl Question {
    /// Reads a question; none where it names nothing of a server.
    pub(crate) fn read(query: &str) -> Option<Self> {
        let lower = query.to_lowercase();
        let words: Vec<&str> =
            lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
        let text = format!(" {} ", words.join(" "));
        let has_word = |known: &[&str]| words.iter().any(|word| known.contains(word));
        let has_phrase = |known: &[&str]| known.iter().any(|phrase| text.contains(&format!(" {phrase} ")));

        let mut topics: Vec<Topic> = WORDS
            .iter()
            .filter(|(topic, known)| {
                has_word(known)
                    || PHRASES.iter().any(|(other, phrases)| other == topic && has_phrase(phrases))
            })
            .map(|(topic, _)| *topic)
            .collect();
        let order = if topics.contains(&Topic::Cpu) { Order::Cpu } else { Order::Memory };
        if topics.contains(&Topic::Processes) {
            // Beside processes, these words say what to count by.
            topics.retain(|topic| !matches!(topic, Topic::Cpu | Topic::Memory));
            if topics.contains(&Topic::Disk) || topics.contains(&Topic::Network) {
                // What a process writes or sends is not among the figures: answer with what is.
                topics.retain(|topic| *topic != Topic::Processes);
            }
        }
        let overall = has_word(EVERYTHING) || (topics.is_empty() && has_word(OVERALL));
        if overall {
            topics = vec![Topic::Cpu, Topic::Memory, Topic::Disk, Topic::Load, Topic::Uptime];
        }
        if topics.is_empty() {
            return None;
        }
        Some(Self { topics, overall, order, limit: limit(&words), paths: paths(query) })
    }
}

/// The first number in the question; five where there is none.
fn limit(words: &[&str]) -> u32 {
    let number = |word: &&str| {
        word.parse().ok().or_else(|| NUMBERS.iter().find(|(name, _)| name == word).map(|(_, value)| *value))
    };
    words.iter().find_map(number).unwrap_or(5).clamp(1, 100)
}

fn paths(query: &str) -> Vec<String> {
    query
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(|word| word.trim_end_matches(['?', '.', ',', '!', ';', ':']))
        .map(|path| if path.len() > 1 { path.trim_end_matches('/') } else { path })
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics(query: &str) -> Vec<Topic> {
        Question::read(query).map(|question| question.topics).unwrap_or_default()
    }

    #[test]
    fn a_question_is_about_what_it_names() {
        assert_eq!(topics("Check CPU usage on the server"), [Topic::Cpu]);
        assert_eq!(topics("How much RAM is free?"), [Topic::Memory]);
        assert_eq!(topics("Is the disk getting full?"), [Topic::Disk]);
        assert_eq!(topics("load average"), [Topic::Load]);
        assert_eq!(topics("How busy is the VPS?"), [Topic::Cpu, Topic::Load]);
        assert_eq!(topics("network traffic on the server"), [Topic::Network]);
        assert_eq!(topics("How long has the server been up?"), [Topic::Uptime]);
        assert_eq!(topics("Which kernel does it run"), [Topic::Machine]);
        assert_eq!(topics("CPU and memory usage please"), [Topic::Cpu, Topic::Memory]);
    }

    #[test]
    fn the_whole_server_is_asked_about_where_nothing_else_is_named() {
        for query in
            ["server health", "Show me server health metrics", "is the box ok", "Check system status"]
        {
            assert!(Question::read(query).is_some_and(|question| question.overall), "{query}");
        }
        assert!(Question::read("memory, or rather everything").is_some_and(|question| question.overall));
        assert!(Question::read("Check CPU health").is_some_and(|question| !question.overall));
    }

    #[test]
    fn processes_are_counted_by_what_stands_beside_them() {
        let by = |query: &str| {
            Question::read(query).map(|question| (question.topics, question.order, question.limit))
        };
        let processes = || vec![Topic::Processes];
        assert_eq!(by("Top 3 processes by CPU"), Some((processes(), Order::Cpu, 3)));
        assert_eq!(by("top ten processes by memory"), Some((processes(), Order::Memory, 10)));
        assert_eq!(by("What's using the most memory?"), Some((processes(), Order::Memory, 5)));
        assert_eq!(by("what is eating my cpu"), Some((processes(), Order::Cpu, 5)));
        assert_eq!(by("list 100000 processes"), Some((processes(), Order::Memory, 100)));
        assert_eq!(topics("what is using up the disk"), [Topic::Disk]);
    }

    #[test]
    fn folders_are_found() {
        let paths = |query: &str| Question::read(query).map(|question| question.paths).unwrap_or_default();
        assert_eq!(paths("disk space on /data/ and /?"), ["/data", "/"]);
        assert!(paths("read/write disk").is_empty());
    }

    #[test]
    fn what_names_nothing_of_a_server_is_not_understood() {
        for query in ["How do I braise leeks", "", "?!", "translate this into French"] {
            assert!(Question::read(query).is_none(), "{query}");
        }
    }
}
