;; What `cores/transcode.wat` passes its strings to: takes them and forgets them.
(component $stranger
  (core module $module
    (memory (export "memory") 260)
    ;; Each string lies where the one before it did.
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
    (func (export "take") (param i32 i32)))
  (core instance $core (instantiate $module))
  (alias core export $core "memory" (core memory $memory))
  (alias core export $core "realloc" (core func $realloc))
  (alias core export $core "take" (core func $take))
  (func (export "take-utf8") (param "text" string)
    (canon lift (core func $take) (memory $memory) (realloc $realloc) string-encoding=utf8))
  (func (export "take-utf16") (param "text" string)
    (canon lift (core func $take) (memory $memory) (realloc $realloc) string-encoding=utf16))
  (func (export "take-either") (param "text" string)
    (canon lift (core func $take) (memory $memory) (realloc $realloc) string-encoding=latin1+utf16)))
(instance $stranger (instantiate $stranger))
