//! What is measured: every import, in the sizes that matter, and the dearest instructions.
//!
//! A case is WebAssembly text: what comes before the rounds, and what one round does.

use stockade::capabilities::interfaces::{Decision, INTERFACES};

use crate::contracts::{Contracts, Import};

/// Where arguments lie: 16 MiB of the letter `n`, or a list of handles.
pub(crate) const TEXT: u32 = 1 << 20;

/// One row of the table.
pub(crate) struct Case {
    /// What the row is called.
    pub(crate) name: String,
    /// What kind of row it is.
    pub(crate) kind: Kind,
    /// Definitions beside the function.
    pub(crate) outside: String,
    /// What comes before the rounds.
    pub(crate) setup: String,
    /// One round.
    pub(crate) body: String,
    /// The most rounds in one call, where something runs out.
    pub(crate) most: u32,
}

/// What a row is measured against.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An instruction: the dearest of these is the measure.
    Instruction,
    /// An instruction whose time is the machine's memory and not the instruction's: shown, not a measure.
    Memory,
    /// A host call.
    Import,
    /// A call with `system` refused.
    Refused,
}

/// How a handle of each resource is had. What stands later may use what stands before.
pub(crate) const HANDLES: &[(&str, &str)] = &[
    ("output-stream", r#"(call $"wasi:cli/stdout get-stdout")"#),
    ("input-stream", r#"(call $"wasi:cli/stdin get-stdin")"#),
    ("network", r#"(call $"wasi:sockets/instance-network instance-network")"#),
    ("pollable", r#"(call $"wasi:io/streams [method]output-stream.subscribe" (global.get $output-stream))"#),
];

/// Resources that no guest ever has a handle of: no folder is given, no name is resolved, no socket is
/// made, no terminal is there, and no stream fails in a way that has a word.
pub(crate) const NEVER_HAD: &[&str] = &[
    "descriptor",
    "directory-entry-stream",
    "error",
    "incoming-datagram-stream",
    "outgoing-datagram-stream",
    "resolve-address-stream",
    "tcp-socket",
    "terminal-input",
    "terminal-output",
    "udp-socket",
];

/// Calls that end the guest.
pub(crate) const ENDS: &[&str] = &["wasi:cli/exit exit", "wasi:cli/exit exit-with-code"];

/// Fills what is passed with letters.
const LETTERS: &str = "(memory.fill (i32.const 1048576) (i32.const 110) (i32.const 16777216))";
/// Fills what is passed with lines of one letter.
const LINES: &str = "(loop $line
  (i64.store (i32.add (i32.const 1048576) (local.get $i)) (i64.const 0x0a6e0a6e0a6e0a6e))
  (br_if $line (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 8))) (i32.const 16777216))))";
/// A list of a million copies of one handle.
const COPIES: &str = "(loop $copy
  (i32.store (i32.add (i32.const 1048576) (local.get $i)) (global.get $pollable))
  (br_if $copy (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4))) (i32.const 4000000))))";
/// A list of 450 timers that never end, and a handle that is ready.
const TIMERS: &str = r#"(loop $timer
  (i32.store (i32.add (i32.const 1048576) (local.get $i))
    (call $"wasi:clocks/monotonic-clock subscribe-duration" (i64.const 1000000000000000)))
  (br_if $timer (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4))) (i32.const 1800))))
  (i32.store (i32.const 1050376) (global.get $pollable))"#;

/// What a function takes: the row's addition, what comes before, the arguments but for the handle in
/// front and the result's place at the end.
type Size = (&'static str, &'static str, &'static str);

const WRITES: &[Size] = &[
    ("1 byte", LETTERS, "(i32.const 1048576) (i32.const 1)"),
    ("4 KiB, one line", LETTERS, "(i32.const 1048576) (i32.const 4096)"),
    ("4 KiB of lines", LINES, "(i32.const 1048576) (i32.const 4096)"),
    ("64 KiB of lines", LINES, "(i32.const 1048576) (i32.const 65536)"),
    ("16 MiB of lines", LINES, "(i32.const 1048576) (i32.const 16777216)"),
];
const LENGTHS: &[Size] = &[("1 byte", "", "(i64.const 1)"), ("1 MiB", "", "(i64.const 1048576)")];
const ZEROES: &[Size] = &[
    ("1 byte", "", "(i64.const 1)"),
    ("4 KiB", "", "(i64.const 4096)"),
    ("1 MiB", "", "(i64.const 1048576)"),
];
const BYTES: &[Size] = &[
    ("1 byte", "", "(i64.const 1)"),
    ("1 KiB", "", "(i64.const 1024)"),
    ("64 KiB", "", "(i64.const 65536)"),
    ("8 MiB", "", "(i64.const 8388608)"),
];
const MOVES: &[Size] = &[("1 MiB", "", "(global.get $input-stream) (i64.const 1048576)")];
const TIMES: &[Size] = &[("now", "", "(i64.const 0)"), ("never", "", "(i64.const 1000000000000000)")];
const NAMES: &[Size] = &[
    ("10 bytes", LETTERS, "(i32.const 1048576) (i32.const 10)"),
    ("64 KiB", LETTERS, "(i32.const 1048576) (i32.const 65536)"),
    ("15 MiB", LETTERS, "(i32.const 1048576) (i32.const 15728640)"),
];

/// The sizes of every function whose cost may depend on what it is given.
const SIZES: &[(&str, &[Size])] = &[
    (
        "wasi:io/poll poll",
        &[
            ("1 handle", COPIES, "(i32.const 1048576) (i32.const 1)"),
            ("900 copies", COPIES, "(i32.const 1048576) (i32.const 900)"),
            ("a million copies", COPIES, "(i32.const 1048576) (i32.const 1000000)"),
            ("450 timers", TIMERS, "(i32.const 1048576) (i32.const 451)"),
        ],
    ),
    ("wasi:io/streams [method]input-stream.read", LENGTHS),
    ("wasi:io/streams [method]input-stream.blocking-read", LENGTHS),
    ("wasi:io/streams [method]input-stream.skip", LENGTHS),
    ("wasi:io/streams [method]input-stream.blocking-skip", LENGTHS),
    ("wasi:io/streams [method]output-stream.write", WRITES),
    ("wasi:io/streams [method]output-stream.blocking-write-and-flush", WRITES),
    ("wasi:io/streams [method]output-stream.write-zeroes", ZEROES),
    ("wasi:io/streams [method]output-stream.blocking-write-zeroes-and-flush", ZEROES),
    ("wasi:io/streams [method]output-stream.splice", MOVES),
    ("wasi:io/streams [method]output-stream.blocking-splice", MOVES),
    ("wasi:clocks/monotonic-clock subscribe-instant", TIMES),
    ("wasi:clocks/monotonic-clock subscribe-duration", TIMES),
    ("wasi:random/random get-random-bytes", BYTES),
    ("wasi:random/insecure get-insecure-random-bytes", BYTES),
    ("wasi:sockets/ip-name-lookup resolve-addresses", NAMES),
    ("wasi:config/store get", NAMES),
    (
        "wasi:logging/logging log",
        &[
            (
                "1 byte",
                LETTERS,
                "(i32.const 2) (i32.const 0) (i32.const 0) (i32.const 1048576) (i32.const 1)",
            ),
            (
                "64 KiB of lines",
                LINES,
                "(i32.const 2) (i32.const 0) (i32.const 0) (i32.const 1048576) (i32.const 65536)",
            ),
            (
                "context of 15 MiB",
                LETTERS,
                "(i32.const 2) (i32.const 1048576) (i32.const 15728640) (i32.const 0) (i32.const 0)",
            ),
        ],
    ),
];

/// Every case, and what is wrong with the list of them.
pub(crate) fn all(contracts: &Contracts) -> (Vec<Case>, Vec<String>) {
    let imports = contracts.imports();
    let mut cases = instructions();
    let found = contracts.interfaces();
    let imported = INTERFACES.iter().filter(|interface| interface.decision != Decision::Contract);
    let lost = imported.filter(|interface| !found.contains(interface.name));
    let mut wrong: Vec<String> =
        lost.map(|interface| format!("{}: no WIT file has it", interface.name)).collect();
    for import in &imports {
        if ENDS.contains(&import.name.as_str()) {
            continue;
        }
        if import.wants.iter().any(|resource| NEVER_HAD.contains(&resource.as_str())) {
            continue;
        }
        for resource in &import.wants {
            if !HANDLES.iter().any(|(known, _)| known == resource) {
                wrong.push(format!(
                    "{}: say in HANDLES how a `{resource}` is had, or in NEVER_HAD that it is not",
                    import.name
                ));
            }
        }
        match SIZES.iter().find(|(name, _)| *name == import.name) {
            Some((_, sizes)) => cases.extend(sizes.iter().map(|size| sized(import, size))),
            None if import.has_a_size => {
                wrong.push(format!("{}: say in SIZES what to measure it with", import.name));
            }
            None => cases.push(call(import, import.name.clone(), "", &import.arguments)),
        }
    }
    for (name, _) in SIZES {
        if !imports.iter().any(|import| import.name == *name) {
            wrong.push(format!("{name}: nothing is called so any more; take it out of SIZES"));
        }
    }
    let refused: Vec<Case> = imports
        .iter()
        .filter(|import| import.name.starts_with("stockade:system/"))
        .map(|import| Case {
            kind: Kind::Refused,
            ..call(import, format!("{}, refused", import.name), "", &import.arguments)
        })
        .collect();
    cases.extend(refused);
    (cases, wrong)
}

/// The arguments of a size, with the handle in front and the result's place at the end that the
/// function takes besides.
fn sized(import: &Import, (name, setup, arguments): &Size) -> Case {
    let handle = import.wants.first().map(|resource| format!("(global.get ${resource})")).unwrap_or_default();
    let result = if import.arguments.ends_with("(i32.const 16)") { "(i32.const 16)" } else { "" };
    // What is waited for are the handles of the list.
    let handle = if import.name == "wasi:io/poll poll" { String::new() } else { handle };
    call(import, format!("{}, {name}", import.name), setup, &format!("{handle} {arguments} {result}"))
}

fn call(import: &Import, name: String, setup: &str, arguments: &str) -> Case {
    let after = if import.leaves_a_value { "(drop)" } else { &import.drops };
    let body = format!("(call $\"{}\" {arguments}) {after}", import.name);
    let kind = Kind::Import;
    Case { name, kind, outside: String::new(), setup: setup.to_owned(), body, most: u32::MAX }
}

/// The instructions that could be dear.
fn instructions() -> Vec<Case> {
    let case = |name: &str, outside: &str, setup: &str, body: String| Case {
        name: name.to_owned(),
        kind: Kind::Instruction,
        outside: outside.to_owned(),
        setup: setup.to_owned(),
        body,
        most: u32::MAX,
    };
    let often = |body: &str| body.repeat(32);
    let simple = |name: &str, body: &str| case(name, "", "", often(body));
    let table = "(table $table 10000 funcref) (elem declare func $empty) (func $empty)";
    let fill = "(table.fill $table (i32.const 0) (ref.func $empty) (i32.const 10000))";
    let numbers = "(local.set $x (i64.const 0x7fffffffffffffe7)) (local.set $y (f64.const 1.7e300))";
    let lanes = "(local.set $v (v128.const f64x2 1.7e300 1.3e300))";
    let mut cases = vec![
        case("an empty loop", "", "", String::new()),
        case(
            "`i64.div_u`",
            "",
            numbers,
            often(
                "(local.set $x (i64.div_u (i64.const 0x7ffffffffffffff1) (i64.or (local.get $x) (i64.const 3))))",
            ),
        ),
        case(
            "`i64.rem_s`",
            "",
            numbers,
            often(
                "(local.set $x (i64.rem_s (i64.const 0x7ffffffffffffff1) (i64.or (local.get $x) (i64.const 3))))",
            ),
        ),
        case("`f64.sqrt`", "", numbers, often("(local.set $y (f64.sqrt (local.get $y)))")),
        case("`f64.div`", "", numbers, often("(local.set $y (f64.div (f64.const 1.1e300) (local.get $y)))")),
        case("`f64.nearest`", "", numbers, often("(local.set $y (f64.nearest (local.get $y)))")),
        case(
            "`i64.trunc_sat_f64_u`",
            "",
            numbers,
            often("(local.set $x (i64.xor (local.get $x) (i64.trunc_sat_f64_u (local.get $y))))"),
        ),
        case("`f64x2.sqrt`", "", lanes, often("(local.set $v (f64x2.sqrt (local.get $v)))")),
        case(
            "`f64x2.div`",
            "",
            lanes,
            often("(local.set $v (f64x2.div (v128.const f64x2 1.1 1.2) (local.get $v)))"),
        ),
        case("`i64x2.mul`", "", lanes, often("(local.set $v (i64x2.mul (local.get $v) (local.get $v)))")),
        case(
            "`i8x16.swizzle`",
            "",
            lanes,
            often("(local.set $v (i8x16.swizzle (local.get $v) (local.get $v)))"),
        ),
        case("`i8x16.popcnt`", "", lanes, often("(local.set $v (i8x16.popcnt (local.get $v)))")),
        simple("`call`", "(call $realloc (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)) (drop)"),
        case(
            "`call_indirect`",
            table,
            fill,
            often(
                "(call_indirect $table (i32.and (local.tee $i (i32.add (local.get $i) (i32.const 7))) (i32.const 4095)))",
            ),
        ),
        case(
            "`table.get`, `table.set`",
            table,
            fill,
            often("(table.set $table (i32.const 1) (table.get $table (i32.const 2)))"),
        ),
        case(
            "`table.fill`, 10,000 elements",
            table,
            "",
            "(table.fill $table (i32.const 0) (ref.func $empty) (i32.const 10000))".to_owned(),
        ),
        case(
            "`table.copy`, 5,000 elements",
            table,
            fill,
            "(table.copy $table $table (i32.const 0) (i32.const 5000) (i32.const 5000))".to_owned(),
        ),
        case(
            "`table.grow` by nothing",
            table,
            "",
            often("(table.grow $table (ref.null func) (i32.const 0)) (drop)"),
        ),
        case(
            "`table.grow`, refused",
            table,
            "",
            often("(table.grow $table (ref.null func) (i32.const 1000000000)) (drop)"),
        ),
        simple("`memory.grow` by nothing", "(memory.grow (i32.const 0)) (drop)"),
        simple("`memory.grow`, refused", "(memory.grow (i32.const 60000)) (drop)"),
        simple("`memory.fill`, no bytes", "(memory.fill (i32.const 1048576) (i32.const 1) (i32.const 0))"),
        simple("`memory.fill`, 64 bytes", "(memory.fill (i32.const 1048576) (i32.const 1) (i32.const 64))"),
        case(
            "`memory.fill`, 16 MiB",
            "",
            "",
            "(memory.fill (i32.const 1048576) (i32.const 1) (i32.const 16777216))".to_owned(),
        ),
        simple(
            "`memory.copy`, 64 bytes",
            "(memory.copy (i32.const 1048576) (i32.const 2097152) (i32.const 64))",
        ),
        case(
            "`memory.copy`, 16 MiB",
            "",
            "",
            "(memory.copy (i32.const 1048576) (i32.const 20971520) (i32.const 16777216))".to_owned(),
        ),
        simple(
            "`memory.init`, 1 byte",
            "(memory.init $bytes (i32.const 1048576) (i32.const 0) (i32.const 1))",
        ),
    ];
    for case in &mut cases {
        if case.body.contains("$bytes") {
            case.outside = "(data $bytes \"x\")".to_owned();
        }
    }
    // A walk over 16 MiB in which no step is foreseen.
    let mut walk = case(
        "`i64.load` that misses every cache",
        "",
        "",
        often(
            "(local.set $x (i64.add (i64.load (i32.add (i32.const 1048576) (i32.and (i32.wrap_i64 (local.get $x)) (i32.const 0xfffff8)))) \
             (i64.add (i64.mul (local.get $x) (i64.const 6364136223846793005)) (i64.const 1442695040888963407))))",
        ),
    );
    walk.kind = Kind::Memory;
    let mut touch = case(
        "a page touched first",
        "",
        "(local.set $i (i32.const 1048576))",
        "(i32.store (local.get $i) (i32.const 1)) (local.set $i (i32.add (local.get $i) (i32.const 4096)))"
            .to_owned(),
    );
    (touch.kind, touch.most) = (Kind::Memory, 8_000);
    let mut grow = case("`memory.grow` by a page", "", "", "(memory.grow (i32.const 1)) (drop)".to_owned());
    (grow.kind, grow.most) = (Kind::Memory, 300);
    cases.extend([walk, touch, grow]);
    cases
}
