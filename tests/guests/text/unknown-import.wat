;; For the line that reads IMPORTS in frame.wat: an import that no host offers.
(import "stockade:unknown/thing@0.1.0" (instance
  (export "reach" (func (param "what" string) (result string)))))
