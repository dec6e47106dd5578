;; Grows a table by 1,000 elements at a time until refused, and then traps: `unreachable`.
;; A query that begins with `s` survives the refusal and answers instead.
(core module $module
    (memory (export "memory") 2)
    (table $table 1 funcref)
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
      (block $refused
        (loop $more
          (br_if $refused (i32.eq (table.grow $table (ref.null func) (i32.const 1000)) (i32.const -1)))
          (br $more)))
      (if (i32.ne (i32.load8_u (local.get 0)) (i32.const 0x73)) (then unreachable))
      (i32.store (i32.const 620) (i32.const 1024))
      (i32.store (i32.const 624) (i32.const 6))
      (i32.const 616)))
(core instance $core (instantiate $module))
