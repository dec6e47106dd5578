//! What a trap may cost and what it may mean: a stranger names functions and exports, and neither the
//! host's memory nor its answers follow from a name.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::support::command::stockade;
use crate::support::{Server, guests, root};

const HANDLE: &str = "(func (export \"handle\") (param i32 i32 i32 i32 i32 i32 i32 i64) (result i32)";
const DESCRIBE: &str = "(func (export \"describe\") (result i32)";

/// A component that is all right but for what is done to the text of its core module.
fn guest(file: &str, change: impl Fn(String) -> String) -> PathBuf {
    let read = |path: &str| fs::read_to_string(root().join("tests/guests/text").join(path)).expect("a text");
    let core = read("cores/plain.wat");
    let changed = change(core.clone());
    assert_ne!(core, changed, "{file} is as it was");
    let bytes = wat::parse_str(read("frame.wat").replace(";; CORE", &changed)).expect("a component");
    guests::file(&format!("traps-{file}.wasm"), &bytes)
}

/// One whose `handle` has this name and begins with this.
fn handling(file: &str, name: &str, body: &str) -> PathBuf {
    let named = HANDLE.replace("(func ", &format!("(func ${name:?} "));
    guest(file, |core| core.replace(HANDLE, &format!("{named} {body}")))
}

fn fleet(agents: &[(&str, &PathBuf)]) -> String {
    let table = |(id, file): &(&str, &PathBuf)| format!("[agents.{id}]\ncomponent = {file:?}\n");
    agents.iter().map(table).collect()
}

/// What the log says of a call of this agent that ended so.
fn reason(server: &Server, agent: &str, query: &str, code: &str) -> String {
    let body = server.call(agent, query).expect_failure(502, code);
    let id = body["request_id"].clone();
    let lines = server
        .log_lines("the call is in the log", |line| line["request_id"] == id && line["detail"].is_string());
    lines[0]["detail"].as_str().expect("a detail").to_owned()
}

/// A name of C++ of some 500 bytes that stands for gigabytes: each level is eight of the one before.
fn endless() -> String {
    // Each is called by one digit in base 36.
    let levels: String =
        "0123456789AB".chars().map(|before| format!("S_I{}E", format!("S{before}_").repeat(8))).collect();
    format!("_Z1f4pairIiiE{levels}")
}

#[test]
fn a_name_that_stands_for_gigabytes_costs_what_is_shown_of_it() {
    let name = endless();
    let trapping = handling("endless", &name, "unreachable");
    let describing = guest("endless-describe", |core| {
        core.replace(
            DESCRIBE,
            &DESCRIBE
                .replace("(func ", &format!("(func ${name:?} "))
                .replace("(result i32)", "(result i32) unreachable"),
        )
    });
    let server = Server::with(&fleet(&[("trapping", &trapping), ("describing", &describing)]));
    let before = server.resident();
    for _ in 0..20 {
        server.call("trapping", "x").expect_failure(502, "agent_trapped");
    }
    let reason = reason(&server, "trapping", "x", "agent_trapped");
    assert!(reason.contains(&name[..100]) && !reason.contains(&name[..200]), "{reason}");
    assert!(server.resident() < before + (100 << 20), "{} after {before}", server.resident());
    let page = server.agent("describing");
    assert_eq!(page["status"], "failed", "{page}");
    let checked = stockade(["check".as_ref(), describing.as_os_str()]);
    assert_eq!(checked.code, 1, "{}", checked.err);
    assert!(checked.out.contains("unreachable") || checked.err.contains("unreachable"), "{checked:?}");
}

#[test]
fn a_name_of_a_megabyte_is_not_carried_about() {
    let name = format!("_ZN{}E", "3abc".repeat(250_000));
    let server = Server::with(&fleet(&[("long", &handling("long", &name, "unreachable"))]));
    let reason = reason(&server, "long", "x", "agent_trapped");
    // It is not in the code either, so that no trap copies it.
    assert!(reason.contains("at function "), "{reason}");
}

#[test]
fn a_functions_name_means_nothing() {
    let names = [
        "too much data is being copied between the host and the guest: fuel allocated for hostcalls has been exhausted",
        "fuel allocated for hostcalls has been exhausted",
        "cannot allocate another handle: store handle limit exceeded",
        "store handle limit exceeded",
        "all fuel consumed by WebAssembly",
    ];
    let guests: Vec<(String, PathBuf)> = names
        .iter()
        .enumerate()
        .map(|(number, name)| {
            (format!("named-{number}"), handling(&format!("named-{number}"), name, "unreachable"))
        })
        .collect();
    let agents: Vec<_> = guests.iter().map(|(id, file)| (id.as_str(), file)).collect();
    let server = Server::with(&fleet(&agents));
    for ((id, _), name) in guests.iter().zip(names) {
        let reason = reason(&server, id, "x", "agent_trapped");
        assert!(reason.contains("unreachable") && reason.contains(name), "{reason}");
    }
}

#[test]
fn an_exports_name_means_nothing_to_whoever_compiles() {
    let exported = |file: &str, name: &str| {
        let twice = format!("(export {name:?} (func 0)) (export {name:?} (func 0)) ");
        let text = format!("(component (core module (func) {twice}))");
        guests::file(&format!("traps-{file}.wasm"), &wat::parse_str(text).expect("a component"))
    };
    let words = [
        "memory allocation of 8 bytes failed",
        "Cannot allocate memory (os error 12)",
        "\n{\"memory\":\"\"}",
        "does not fit the pooling allocator",
    ];
    let guests: Vec<(String, PathBuf)> = words
        .iter()
        .enumerate()
        .map(|(number, name)| (format!("exported-{number}"), exported(&format!("exported-{number}"), name)))
        .collect();
    let agents: Vec<_> = guests.iter().map(|(id, file)| (id.as_str(), file)).collect();
    let server = Server::with(&fleet(&agents));
    let is_invalid = |said: &str| {
        said.contains("the component is not valid")
            && !["compile_memory", "does not fit the pool:", "max_memories"]
                .iter()
                .any(|word| said.contains(word))
    };
    for (id, file) in &guests {
        let error = server.agent(id)["last_reload"]["error"].as_str().unwrap_or_default().to_owned();
        assert!(is_invalid(&error), "{id}: {error}");
        // In this process, too.
        let checked = stockade(["check".as_ref(), "--json".as_ref(), file.as_os_str()]);
        assert!(checked.code == 1 && is_invalid(&checked.out), "{checked:?}");
    }
}

#[test]
fn a_refused_growth_explains_only_the_abort_that_follows_it() {
    let refused = "(drop (memory.grow (i32.const 60000)))";
    let aborts = handling("refused-aborts", "gives_up", &format!("{refused} unreachable"));
    let divides = handling(
        "refused-divides",
        "divides",
        &format!("{refused} (drop (i32.div_u (i32.const 1) (i32.const 0)))"),
    );
    let grows = handling(
        "refused-grows",
        "goes_on",
        &format!(
            "{refused} (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then (return (i32.const 616)))) unreachable"
        ),
    );
    let server = Server::with(&fleet(&[("aborts", &aborts), ("divides", &divides), ("grows", &grows)]));
    let why = reason(&server, "aborts", "x", "memory_exhausted");
    assert!(why.contains("memory of") && why.contains("at gives_up"), "{why}");
    let why = reason(&server, "divides", "x", "agent_trapped");
    assert!(why.contains("divide by zero") && why.contains("at divides"), "{why}");
    let why = reason(&server, "grows", "x", "agent_trapped");
    assert!(why.contains("unreachable") && why.contains("at goes_on"), "{why}");
}

/// Traps if the two numbers differ: `wide` of them in bits.
fn same(wide: u32, computed: &str, expected: &str) -> String {
    let reinterpret = match wide {
        32 => "i32.reinterpret_f32",
        _ => "i64.reinterpret_f64",
    };
    let kind = format!("i{wide}");
    format!("(if ({kind}.ne ({reinterpret} {computed}) ({kind}.const {expected})) (then unreachable)) ")
}

#[test]
fn every_machine_computes_the_same_nans_and_lanes() {
    let mut body = String::new();
    for (wide, canonical, odd) in
        [(32, "0x7fc00000", "nan:0x200001"), (64, "0x7ff8000000000000", "nan:0x4000000000001")]
    {
        let kind = format!("f{wide}");
        // A variable's value is not known to the compiler: `length` is that of the query, which is 1.
        let length = format!("({kind}.convert_i32_u (local.get 1))");
        let zero = format!("({kind}.sub {length} {length})");
        let minus = format!("({kind}.sub {zero} {length})");
        let payload = format!("({kind}.mul {length} ({kind}.const {odd}))");
        let infinite = format!("({kind}.div {length} {zero})");
        for computed in [
            format!("({kind}.div {zero} {zero})"),
            format!("({kind}.sqrt {minus})"),
            format!("({kind}.sub {infinite} {infinite})"),
            format!("({kind}.mul {infinite} {zero})"),
            format!("({kind}.add {payload} {length})"),
            format!("({kind}.add {length} ({kind}.neg {payload}))"),
            format!("({kind}.min {payload} {length})"),
            format!("({kind}.max {length} {payload})"),
            format!("({kind}.floor {payload})"),
            format!("({kind}.nearest {payload})"),
        ] {
            body.push_str(&same(wide, &computed, canonical));
        }
    }
    let payload = "(f64.mul (f64.convert_i32_u (local.get 1)) (f64.const nan:0x4000000000001))";
    body.push_str(&same(32, &format!("(f32.demote_f64 {payload})"), "0x7fc00000"));
    let payload = "(f32.mul (f32.convert_i32_u (local.get 1)) (f32.const nan:0x200001))";
    body.push_str(&same(64, &format!("(f64.promote_f32 {payload})"), "0x7ff8000000000000"));
    // Relaxed SIMD in the form that the specification calls deterministic.
    let lanes = |computed: &str, expected: &str| {
        format!(
            "(if (i32.eqz (i8x16.all_true (i8x16.eq {computed} (v128.const {expected})))) (then unreachable)) "
        )
    };
    let ones = "(i8x16.splat (local.get 1))";
    // An index out of range gives 0, also where the highest bit is not set.
    body.push_str(&lanes(
        &format!("(i8x16.relaxed_swizzle {ones} (i8x16.splat (i32.add (local.get 1) (i32.const 15))))"),
        "i64x2 0 0",
    ));
    // No number becomes 0, and one too large the largest.
    let nan =
        "(f32x4.splat (f32.div (f32.sub (f32.convert_i32_u (local.get 1)) (f32.const 1)) (f32.const 0)))";
    body.push_str(&lanes(&format!("(i32x4.relaxed_trunc_f32x4_s {nan})"), "i64x2 0 0"));
    let large = "(f32x4.splat (f32.mul (f32.convert_i32_u (local.get 1)) (f32.const 1e20)))";
    body.push_str(&lanes(
        &format!("(i32x4.relaxed_trunc_f32x4_s {large})"),
        "i32x4 0x7fffffff 0x7fffffff 0x7fffffff 0x7fffffff",
    ));
    // A product and a sum are rounded once: 1 + 2^-12, squared, less 1 + 2^-11, leaves 2^-24.
    let near = "(f32x4.splat (f32.add (f32.convert_i32_u (local.get 1)) (f32.const 0x1p-12)))";
    let less = "(f32x4.splat (f32.neg (f32.add (f32.convert_i32_u (local.get 1)) (f32.const 0x1p-11))))";
    body.push_str(&lanes(
        &format!("(f32x4.relaxed_madd {near} {near} {less})"),
        "f32x4 0x1p-24 0x1p-24 0x1p-24 0x1p-24",
    ));
    let server = Server::with(&fleet(&[("floats", &handling("floats", "floats", &body))]));
    let answer: Value = server.call("floats", "1").expect(200);
    assert_eq!(answer["response"], "(text)", "{answer}");
}
