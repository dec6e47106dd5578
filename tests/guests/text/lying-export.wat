;; Not valid: it asks for an export that is not there, under the words of a compiler without memory.
(component
  (core module $module)
  (core instance $core (instantiate $module))
  (alias core export $core "memory allocation of 9 bytes failed: Cannot allocate memory (os error 12)" (core func $none))
)
