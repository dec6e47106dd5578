;; A core module, not a component: what a build for wasm32-unknown-unknown gives.
(module
  (memory (export "memory") 1)
  (func (export "handle") (result i32) (i32.const 42)))
