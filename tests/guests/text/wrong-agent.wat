;; A component that exports `stockade:agent/agent@0.1.0` with a `handle` of another type.
(component
  (component $agent
    (core module $module (func (export "handle") (result i32) (i32.const 42)))
    (core instance $core (instantiate $module))
    (func $handle (result u32) (canon lift (core func $core "handle")))
    (export "handle" (func $handle)))
  (instance $exported (instantiate $agent))
  (export "stockade:agent/agent@0.1.0" (instance $exported))
)
