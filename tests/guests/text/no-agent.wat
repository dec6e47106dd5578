;; A component that exports something, but no agent.
(component
  (core module $module (func (export "answer") (result i32) (i32.const 42)))
  (core instance $core (instantiate $module))
  (func $answer (result u32) (canon lift (core func $core "answer")))
  (export "answer" (func $answer))
)
