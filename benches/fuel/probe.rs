//! A guest for each case: core WebAssembly that does one thing as often as its query says.

use std::fmt::Write;

use crate::cases::{Case, HANDLES, TEXT};
use crate::contracts::{Contracts, Import, RESULT};

/// Where a result's lists and strings go; each round begins here again.
const ROOM: u32 = 20 << 20;

/// The text of a core module that runs `case`.
pub(crate) fn module(contracts: &Contracts, imports: &[Import], case: &Case) -> String {
    let mut setup = case.setup.clone();
    // What gives the handles that are used; one may need another before it.
    let mut handles = String::new();
    for (resource, makes) in HANDLES.iter().rev() {
        if [&setup, &case.body].iter().any(|text| text.contains(&format!("(global.get ${resource})"))) {
            setup = format!("(global.set ${resource} {makes})\n{setup}");
            _ = writeln!(handles, "(global ${resource} (mut i32) (i32.const 0))");
        }
    }
    let code = format!("{setup}\n{}", case.body);
    let mut used = String::new();
    for import in imports {
        let id = format!("$\"{}\"", import.name);
        if code.contains(&id) {
            let Import { module, field, signature, .. } = import;
            _ = writeln!(used, "(import \"{module}\" \"{field}\" (func {id}{signature}))");
        }
    }
    for (id, module, field) in contracts.drops() {
        if code.contains(&id) {
            _ = writeln!(used, "(import \"{module}\" \"{field}\" (func {id} (param i32)))");
        }
    }
    let Case { outside, body, .. } = case;
    format!(
        r#"(module
  {used}
  (memory (export "memory") 700)
  (global $free (mut i32) (i32.const 65536))
  {handles}
  (data (i32.const 1024) "(text)")
  {outside}
  (func $realloc (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $block i32)
    (local.set $block (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
    (global.set $free (i32.add (local.get $block) (local.get 3)))
    (local.get $block))
  (func (export "stockade:agent/agent@0.1.0#describe") (result i32)
    (i32.store (i32.const 512) (i32.const 1024))
    (i32.store (i32.const 516) (i32.const 6))
    (i32.store (i32.const 528) (i32.const 1024))
    (i32.store (i32.const 532) (i32.const 6))
    (i32.const 512))
  (func (export "stockade:agent/agent@0.1.0#handle")
    (param $query i32) (param $length i32) (param i32 i32 i32 i32 i32 i64) (result i32)
    (local $times i32) (local $i i32) (local $x i64) (local $y f64) (local $v v128)
    (loop $digit
      (local.set $times (i32.add (i32.mul (local.get $times) (i32.const 10))
        (i32.sub (i32.load8_u (local.get $query)) (i32.const 48))))
      (local.set $query (i32.add (local.get $query) (i32.const 1)))
      (br_if $digit (local.tee $length (i32.sub (local.get $length) (i32.const 1)))))
    {setup}
    (loop $round
      (global.set $free (i32.const {ROOM}))
      {body}
      (br_if $round (local.tee $times (i32.sub (local.get $times) (i32.const 1)))))
    (memory.fill (i32.const 616) (i32.const 0) (i32.const 40))
    (i32.store (i32.const 620) (i32.const 1024))
    (i32.store (i32.const 624) (i32.const 6))
    (i32.const 616))
)
;; Results go to {RESULT}, what is passed lies at {TEXT}.
"#
    )
}
