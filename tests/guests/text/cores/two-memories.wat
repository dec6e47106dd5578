;; Two instances, each with a memory of its own: grows both by 16 pages in turn until both are
;; refused, and then traps. A limit for each memory is not a limit for the whole.
;; A query that begins with `s` survives the refusal and answers instead.
(core module $second
    (memory 1)
    (func (export "grow") (result i32) (memory.grow (i32.const 16))))
(core instance $second (instantiate $second))
(core module $module
    (import "second" "grow" (func $grow-second (result i32)))
    (memory (export "memory") 2)
    (data (i32.const 1024) "(text)")
    (global $free (mut i32) (i32.const 4096))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (local $block i32)
      (local.set $block (global.get $free))
      (global.set $free (i32.and (i32.add (i32.add (global.get $free) (local.get 3)) (i32.const 7)) (i32.const -8)))
      (local.get $block))
    (func (export "describe") (result i32)
      (i32.store (i32.const 512) (i32.const 1024))
      (i32.store (i32.const 516) (i32.const 6))
      (i32.store (i32.const 528) (i32.const 1024))
      (i32.store (i32.const 532) (i32.const 6))
      (i32.const 512))
    (func (export "handle") (param i32 i32 i32 i32 i32 i32 i32 i64) (result i32)
      (loop $more
        (br_if $more (i32.ne (i32.and (memory.grow (i32.const 16)) (call $grow-second)) (i32.const -1))))
      (if (i32.ne (i32.load8_u (local.get 0)) (i32.const 0x73)) (then unreachable))
      (i32.store (i32.const 620) (i32.const 1024))
      (i32.store (i32.const 624) (i32.const 6))
      (i32.const 616)))
(core instance $core (instantiate $module (with "second" (instance $second))))
