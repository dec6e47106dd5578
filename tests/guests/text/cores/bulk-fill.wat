;; Fills its memory, grown to as much as it is given, with `memory.fill` over and over, without end:
;; each of these instructions runs uninterrupted.
(core module $module
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
      (i32.const 512))
    (func (export "handle") (param i32 i32 i32 i32 i32 i32 i32 i64) (result i32)
      (loop $grow (br_if $grow (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
      (loop $more
        (memory.fill (i32.const 8192) (i32.const 1)
          (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 8192)))
        (br $more))
      unreachable))
(core instance $core (instantiate $module))
