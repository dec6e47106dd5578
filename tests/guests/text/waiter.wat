;; What `cores/describe-waits.wat` waits with: a timer that does not end.
(import "wasi:io/poll@0.2.4" (instance $poll
  (export "pollable" (type $pollable (sub resource)))
  (export "[method]pollable.block" (func (param "self" (borrow $pollable))))))
(alias export $poll "pollable" (type $pollable))
(import "wasi:clocks/monotonic-clock@0.2.4" (instance $clock
  (alias outer 1 $pollable (type $theirs))
  (export "pollable" (type $pollable (eq $theirs)))
  (export "subscribe-duration" (func (param "when" u64) (result (own $pollable))))))
(core func $subscribe (canon lower (func $clock "subscribe-duration")))
(core func $block (canon lower (func $poll "[method]pollable.block")))
(core module $waiter
  (import "host" "subscribe" (func $subscribe (param i64) (result i32)))
  (import "host" "block" (func $block (param i32)))
  (func (export "wait")
    (call $block (call $subscribe (i64.const 1000000000000000)))))
(core instance $waiter (instantiate $waiter (with "host" (instance
  (export "subscribe" (func $subscribe)) (export "block" (func $block))))))
(func $wait (canon lift (core func $waiter "wait")))
