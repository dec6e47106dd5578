;; The component around a core module written by hand: it exports `stockade:agent/agent@0.1.0`.
;; The line that reads CORE is to be replaced by the text of one of the files in `cores/`, which
;; defines a core instance `$core` that exports:
;;   memory    its memory
;;   realloc   the canonical ABI's allocator
;;   describe  () -> address of a description: name 0, description 8, version 16, category 24,
;;             triggers 32, examples 40 (address and length each), four absent options up to 96
;;   handle    (query, its length, has context, context, its length, request id, its length,
;;             deadline) -> address of a result: 0 at 0, then the response's address 4 and
;;             length 8, two absent options up to 36
;; The line that reads IMPORTS may be replaced by imports of the whole component.
(component
  ;; IMPORTS
  (component $agent
    ;; CORE
    (alias core export $core "memory" (core memory $memory))
    (alias core export $core "realloc" (core func $realloc))
    (alias core export $core "describe" (core func $core-describe))
    (alias core export $core "handle" (core func $core-handle))

    (type $example' (record (field "task" string) (field "expected" (option string))))
    (export $example "example" (type $example'))
    (type $description' (record
      (field "name" string)
      (field "description" string)
      (field "version" string)
      (field "category" string)
      (field "triggers" (list string))
      (field "examples" (list $example))
      (field "context-schema" (option string))
      (field "model" (option string))
      (field "cost-per-query" (option string))
      (field "default-query" (option string))))
    (export $description "description" (type $description'))
    (type $task' (record
      (field "query" string)
      (field "context" (option string))
      (field "request-id" string)
      (field "deadline-ms" u64)))
    (export $task "task" (type $task'))
    (type $reply' (record
      (field "response" string)
      (field "data" (option string))
      (field "model" (option string))))
    (export $reply "reply" (type $reply'))
    (type $failure' (variant
      (case "invalid-input" string)
      (case "denied" string)
      (case "unavailable" string)
      (case "failed" string)))
    (export $failure "failure" (type $failure'))

    (func $describe (result $description)
      (canon lift (core func $core-describe) (memory $memory)))
    (export "describe" (func $describe))
    (func $handle (param "task" $task) (result (result $reply (error $failure)))
      (canon lift (core func $core-handle) (memory $memory) (realloc $realloc)))
    (export "handle" (func $handle))
  )
  (instance $exported (instantiate $agent))
  (export "stockade:agent/agent@0.1.0" (instance $exported))
)
