// The agent: what it says about itself, and how it answers a task.

#define _GNU_SOURCE // asprintf
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "guest.h" // made by `stockade build`, in target/bindings, from the contract in wit/

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const char *const TRIGGERS[] = {"greet", "say hello"};
static const char *const BEGINNINGS[] = {"greet ", "say hello to "};

// What is returned belongs to the caller, which frees it: texts are copied, lists are allocated.
void exports_agent_describe(exports_agent_description_t *description) {
    memset(description, 0, sizeof *description);
    guest_string_dup(&description->name, "My Agent");
    guest_string_dup(&description->description, "Greets people by their name.");
    guest_string_dup(&description->version, "0.1.0");
    guest_string_dup(&description->category, "example");

    description->triggers.len = COUNT(TRIGGERS);
    description->triggers.ptr = calloc(COUNT(TRIGGERS), sizeof *description->triggers.ptr);
    for (size_t i = 0; i < COUNT(TRIGGERS); i++) guest_string_dup(&description->triggers.ptr[i], TRIGGERS[i]);

    description->examples.len = 2;
    description->examples.ptr = calloc(2, sizeof *description->examples.ptr);
    guest_string_dup(&description->examples.ptr[0].task, "Greet Ada");
    description->examples.ptr[0].expected.is_some = true;
    guest_string_dup(&description->examples.ptr[0].expected.val, "Hello, Ada!");
    guest_string_dup(&description->examples.ptr[1].task, "Say hello to Grace");
}

static void info(const char *text) {
    guest_string_t context, message;
    guest_string_set(&context, "");
    guest_string_set(&message, text);
    wasi_logging_logging_log(WASI_LOGGING_LOGGING_LEVEL_INFO, &context, &message);
}

// Returns true with a reply, or false with a failure.
bool exports_agent_handle(exports_agent_task_t *task, exports_agent_reply_t *reply,
                          exports_agent_failure_t *failure) {
    memset(reply, 0, sizeof *reply);
    const char *query = (const char *)task->query.ptr;
    bool answered = false;
    for (size_t i = 0; i < COUNT(BEGINNINGS) && !answered; i++) {
        size_t length = strlen(BEGINNINGS[i]);
        if (task->query.len <= length || strncasecmp(query, BEGINNINGS[i], length) != 0) continue;
        int rest = (int)(task->query.len - length);
        char *text;
        if (asprintf(&text, "greeting %.*s", rest, query + length) < 0) abort();
        info(text);
        free(text);
        if (asprintf(&text, "Hello, %.*s!", rest, query + length) < 0) abort();
        guest_string_dup(&reply->response, text);
        free(text);
        answered = true;
    }
    if (!answered) {
        failure->tag = EXPORTS_AGENT_FAILURE_INVALID_INPUT;
        guest_string_dup(&failure->val.invalid_input, "say whom to greet, as in \"Greet Ada\"");
    }
    exports_agent_task_free(task);
    return answered;
}
