//! The four agents that come with the host, and tasks as people type them: what fits routes with confidence, and
//! what does not is no match, whether the agents declare examples or not.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use stockade_router::{Agent, Router, Settings, Verdict};

fn agent(
    id: &str,
    name: &str,
    description: &str,
    category: &str,
    triggers: &str,
    examples: &[&str],
) -> Agent {
    Agent {
        id: id.to_owned(),
        name: name.to_owned(),
        description: description.to_owned(),
        triggers: triggers.split(", ").map(str::to_owned).collect(),
        category: category.to_owned(),
        examples: examples.iter().map(|&example| example.to_owned()).collect(),
    }
}

fn fleet() -> Vec<Agent> {
    vec![
        agent(
            "vps-monitor",
            "VPS Monitor Agent",
            "Monitors the server that this host runs on: CPU usage, memory and swap, disk space, load average, \
             network traffic, uptime, and the processes that use the most CPU or memory.",
            "infrastructure",
            "server, vps, cpu, processor, memory, ram, swap, disk, disk space, storage, load average, server load, \
             network traffic, bandwidth, uptime, reboot, process, processes, server health, system status, \
             monitoring, resource usage, hostname, kernel",
            &[
                "Check CPU usage on the server",
                "Show me server health metrics",
                "Check server health",
                "How much memory is free?",
                "How much RAM is the machine using right now?",
                "Is the disk getting full?",
                "What is the load average?",
                "How busy is the VPS?",
                "Top 5 processes by memory",
                "How much network traffic has the server seen?",
                "How long has the server been up?",
                "When was the last reboot?",
            ],
        ),
        agent(
            "calculator",
            "Calculator",
            "Calculates arithmetic expressions, percentages, roots, powers and other functions, converts units of \
             length, weight, volume, temperature, speed, time and data, and converts numbers between decimal, hex, \
             binary and octal.",
            "utility",
            "calculate, calculator, compute, math, arithmetic, plus, minus, times, multiply, multiplied by, \
             divided by, divide, percent, percentage, square root, to the power of, factorial, logarithm, convert, \
             unit conversion, miles, kilometers, km, pounds, kilograms, ounces, celsius, fahrenheit, gallons, \
             liters, inches, feet, hex, hexadecimal, binary, octal, tip",
            &[
                "Calculate 12 * (3 + 4)",
                "What is 17 times 23?",
                "What is the square root of 144?",
                "What is 15% of 80?",
                "How much is 20% off 59.90?",
                "12 is what percent of 80?",
                "Add 19% to 250",
                "2 to the power of 10",
                "How many ounces are in 2 pounds?",
                "Convert 72 fahrenheit to celsius",
                "100 km/h in mph",
                "What is 1 divided by 7?",
            ],
        ),
        agent(
            "calendar",
            "Calendar",
            "Answers questions about dates: days between two dates, the weekday of a date, the date so many days, \
             weeks or months from another, days until a date, ISO week numbers, leap years, ages, and Unix timestamps.",
            "utility",
            "date, dates, calendar, days between, how many days, days until, days since, weeks between, what day, \
             day of the week, weekday, what date, days from, days after, days before, weeks from, months from, \
             week number, iso week, leap year, unix timestamp, unix time, epoch, today, tomorrow, yesterday, \
             how old, day of the year, christmas",
            &[
                "What day is it today?",
                "What date is 90 days from 2025-03-01?",
                "What is the date three weeks from tomorrow?",
                "How many days until Christmas?",
                "Which ISO week is 2024-12-30 in?",
                "Is 2028 a leap year?",
                "How old is someone born on 12 May 1990?",
                "Convert unix timestamp 1700000000 to a date",
                "When is next Friday?",
            ],
        ),
        agent(
            "text-tools",
            "Text Tools",
            "Works on text: counts words and characters, changes case, makes slugs, encodes and decodes base64, URLs, \
             hex and HTML, hashes with SHA-256 and others, sorts and deduplicates lines, extracts email addresses, \
             links and numbers, and validates or formats JSON.",
            "utility",
            "count words, word count, count characters, how many words, uppercase, lowercase, title case, snake case, \
             camel case, kebab case, slugify, slug, base64, encode, decode, url encode, html escape, rot13, hash, \
             sha256, sha-256, sha512, md5, checksum, sort lines, deduplicate, remove duplicates, reverse text, \
             extract emails, email addresses, extract links, extract urls, validate json, pretty print json, \
             format json, minify json, word frequency, trim whitespace, text, string",
            &[
                "Convert this title to a URL slug: Ten Ways to Cook an Egg",
                "Uppercase: please be quiet",
                "Decode base64 aGVsbG8gd29ybGQ=",
                "What is the SHA-256 hash of \"hello\"?",
                "MD5 checksum of password123",
                "How many characters are in \"hello world\"?",
                "Remove duplicate lines:\na\nb\na",
                "Extract the email addresses from: write to ada@example.com or bob@example.org",
                "Is this valid JSON: {\"a\": 1}",
            ],
        ),
    ]
}

/// The fleet with its examples, and without.
fn routers() -> [(&'static str, Router); 2] {
    let mut plain = fleet();
    plain.iter_mut().for_each(|agent| agent.examples.clear());
    [
        ("with examples", Router::build(Settings::default(), fleet())),
        ("without", Router::build(Settings::default(), plain)),
    ]
}

#[test]
fn what_fits_routes() {
    for (which, router) in routers() {
        for (task, expected) in [
            ("Check CPU usage on the server", "vps-monitor"),
            ("Check server health", "vps-monitor"),
            ("Show me server health metrics", "vps-monitor"),
            ("How much memory is free?", "vps-monitor"),
            ("is the disk full", "vps-monitor"),
            ("15% of 80", "calculator"),
            ("what is 17 times 23", "calculator"),
            ("convert 10 miles to km", "calculator"),
            ("what day is 2026-12-24", "calendar"),
            ("how many days until christmas", "calendar"),
            ("count the words in this sentence", "text-tools"),
            ("sha256 of hello", "text-tools"),
        ] {
            // A number, a sign or one word of forty is little to go by: these need the examples.
            if which == "without" && ["15% of 80", "what is 17 times 23", "sha256 of hello"].contains(&task) {
                continue;
            }
            let decision = router.decide(task, &router.all());
            let best = &decision.ranked[0];
            assert_eq!(decision.verdict, Verdict::Routed, "{which}: {task}: {decision:?}");
            assert_eq!(best.agent, expected, "{which}: {task}: {decision:?}");
        }
    }
}

#[test]
fn what_does_not_fit_is_no_match() {
    for (which, router) in routers() {
        for task in [
            "How do I braise leeks",
            "What is the best way to roast beets",
            "tell me about your mother",
            "who won the football match",
            "play some jazz",
            "write me a poem about autumn",
            "is it going to rain in Lisbon",
            "book a table for two",
            "who painted the mona lisa",
            "asdf qwer zxcv",
        ] {
            let decision = router.decide(task, &router.all());
            assert_eq!(decision.verdict, Verdict::NoMatch, "{which}: {task}: {decision:?}");
        }
    }
}

#[test]
fn two_agents_with_the_same_texts_are_ambiguous() {
    for (_, router) in routers() {
        let mut agents = fleet();
        agents.push(Agent { id: "calendar-2".to_owned(), ..agents[2].clone() });
        let router = Router::build(router.settings().clone(), agents);
        let decision = router.decide("how many days until christmas", &router.all());
        assert_eq!(decision.verdict, Verdict::Ambiguous, "{decision:?}");
    }
}

#[test]
fn one_corrected_word_is_never_certain() {
    for (_, router) in routers() {
        for task in ["serber", "calender", "chrismas"] {
            let explanation = router.explain(task, &router.all());
            assert_eq!(explanation.corrections.len(), 1, "{task}");
            assert!(explanation.decision.ranked[0].confidence < 0.61, "{task}: {:?}", explanation.decision);
        }
    }
}
