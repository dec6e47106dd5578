// A subnet calculator: the range, mask and size of an IPv4 network.
//
// The same agent in other languages lies beside this one, and all give the same answers.
// cJSON.c and cJSON.h are a library (MIT licence, version 1.7.19).

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cJSON.h"
#include "guest.h" // made by `stockade build`, in target/bindings, from the contract in wit/
#include "ipv4.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const char *const TRIGGERS[] = {"subnet",   "netmask",       "network mask",  "cidr",
                                       "ip range", "address range", "how many hosts"};

static const struct {
    const char *task, *expected;
} EXAMPLES[] = {
    {"What is the range of 10.1.2.3/22?", "10.1.0.0 to 10.1.3.255"},
    {"Netmask of 172.16.0.0/12", "255.240.0.0"},
    {"How many hosts fit into 192.168.1.0/26", NULL},
    {"Which addresses are in 10.0.0.0/30", NULL},
};

static const char CONTEXT_SCHEMA[] =
    "{\"type\":[\"object\",\"null\"],\"properties\":{\"address\":"
    "{\"type\":\"string\",\"description\":\"An address to look for in the network\"}}}";

// What is returned belongs to the caller, which frees it: texts are copied, lists are allocated.
static void set(guest_option_string_t *option, const char *text) {
    option->is_some = true;
    guest_string_dup(&option->val, text);
}

void exports_agent_describe(exports_agent_description_t *description) {
    memset(description, 0, sizeof *description);
    guest_string_dup(&description->name, "Subnet Calculator");
    guest_string_dup(&description->description,
                     "Works out the address range, the mask and the number of hosts of an IPv4 network in CIDR "
                     "notation, and whether an address is in it.");
    guest_string_dup(&description->version, "0.1.0");
    guest_string_dup(&description->category, "network");
    set(&description->context_schema, CONTEXT_SCHEMA);
    set(&description->cost_per_query, "$0.000");

    description->triggers.len = COUNT(TRIGGERS);
    description->triggers.ptr = calloc(COUNT(TRIGGERS), sizeof *description->triggers.ptr);
    for (size_t i = 0; i < COUNT(TRIGGERS); i++) guest_string_dup(&description->triggers.ptr[i], TRIGGERS[i]);

    description->examples.len = COUNT(EXAMPLES);
    description->examples.ptr = calloc(COUNT(EXAMPLES), sizeof *description->examples.ptr);
    for (size_t i = 0; i < COUNT(EXAMPLES); i++) {
        exports_agent_example_t *example = &description->examples.ptr[i];
        guest_string_dup(&example->task, EXAMPLES[i].task);
        if (EXAMPLES[i].expected != NULL) set(&example->expected, EXAMPLES[i].expected);
    }
}

// Fills a failure, and gives what a function returns that failed.
__attribute__((format(printf, 3, 4))) static bool fail(exports_agent_failure_t *failure, uint8_t tag,
                                                       const char *format, ...) {
    char message[512];
    va_list values;
    va_start(values, format);
    vsnprintf(message, sizeof message, format, values);
    va_end(values);
    failure->tag = tag;
    // Every case carries a text, and all lie in the same place.
    guest_string_dup(&failure->val.failed, message);
    return false;
}

// Finds the network in a task, such as `10.1.2.3/22`.
static bool find_network(guest_string_t task, network_t *network, exports_agent_failure_t *failure) {
    const char *at = (const char *)task.ptr, *end = at + task.len;
    while (at < end) {
        const char *begin = at;
        while (at < end && strchr("0123456789./", *at) != NULL && *at != '\0') at++;
        size_t length = (size_t)(at - begin);
        while (length > 0 && begin[length - 1] == '.') length--;
        if (length > 0 && memchr(begin, '/', length) != NULL) {
            if (network_parse(begin, length, network)) return true;
            return fail(failure, EXPORTS_AGENT_FAILURE_INVALID_INPUT,
                        "`%.*s` is no IPv4 network: write four numbers up to 255 and a prefix up to 32, as in "
                        "10.1.2.3/22",
                        (int)(length < 100 ? length : 100), begin);
        }
        if (at == begin) at++;
    }
    return fail(failure, EXPORTS_AGENT_FAILURE_INVALID_INPUT,
                "name a network, as in \"What is the range of 10.1.2.3/22?\"");
}

// How many addresses of each network are not for hosts: the operator's setting.
static bool reserved_addresses(uint64_t *reserved, exports_agent_failure_t *failure) {
    guest_string_t key;
    guest_option_string_t value;
    wasi_config_store_error_t error;
    guest_string_set(&key, "reserved");
    *reserved = 2;
    if (!wasi_config_store_get(&key, &value, &error)) {
        return fail(failure, EXPORTS_AGENT_FAILURE_UNAVAILABLE, "the agent's settings cannot be read");
    }
    if (!value.is_some) return true;
    bool usable = value.val.len > 0 && value.val.len <= 18;
    *reserved = 0;
    for (size_t i = 0; i < value.val.len && usable; i++) {
        usable = value.val.ptr[i] >= '0' && value.val.ptr[i] <= '9';
        *reserved = *reserved * 10 + (uint64_t)(value.val.ptr[i] - '0');
    }
    if (!usable) {
        fail(failure, EXPORTS_AGENT_FAILURE_FAILED, "the agent's setting `reserved` is not usable: %.*s",
             (int)(value.val.len < 100 ? value.val.len : 100), (const char *)value.val.ptr);
    }
    guest_option_string_free(&value);
    return usable;
}

// The address that the caller gave along, to learn whether it is in the network.
static bool given_address(guest_option_string_t given, bool *there, uint32_t *address,
                          exports_agent_failure_t *failure) {
    *there = false;
    if (!given.is_some) return true;
    cJSON *context = cJSON_ParseWithLength((const char *)given.val.ptr, given.val.len);
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(context, "address"));
    bool usable = true;
    if (text != NULL) {
        *there = true;
        usable = address_parse(text, strlen(text), address);
        if (!usable) {
            fail(failure, EXPORTS_AGENT_FAILURE_INVALID_INPUT, "`%.100s` in the context is no IPv4 address", text);
        }
    }
    cJSON_Delete(context);
    return usable;
}

static void info(const char *text) {
    guest_string_t context, message;
    guest_string_set(&context, "");
    guest_string_set(&message, text);
    wasi_logging_logging_log(WASI_LOGGING_LOGGING_LEVEL_INFO, &context, &message);
}

static bool answer(const exports_agent_task_t *task, exports_agent_reply_t *reply,
                   exports_agent_failure_t *failure) {
    network_t network;
    uint64_t reserved;
    uint32_t address;
    bool asked;
    if (!find_network(task->query, &network, failure)) return false;
    if (!given_address(task->context, &asked, &address, failure)) return false;
    if (!reserved_addresses(&reserved, failure)) return false;

    uint64_t addresses = network_addresses(network), hosts = network_hosts(network, reserved);
    char first[ADDRESS_ROOM], last[ADDRESS_ROOM], mask[ADDRESS_ROOM], text[256];
    address_text(network.first, first);
    address_text(network_last(network), last);
    address_text(network_mask(network), mask);
    snprintf(text, sizeof text, "the network %s/%" PRIu32, first, network.prefix);
    info(text);

    int length = snprintf(text, sizeof text,
                          "%s/%" PRIu32 ": %s to %s, mask %s, %" PRIu64 " of %" PRIu64 " addresses for hosts.",
                          first, network.prefix, first, last, mask, hosts, addresses);
    cJSON *data = cJSON_CreateObject();
    cJSON_AddStringToObject(data, "network", first);
    cJSON_AddNumberToObject(data, "prefix", network.prefix);
    cJSON_AddStringToObject(data, "first", first);
    cJSON_AddStringToObject(data, "last", last);
    cJSON_AddStringToObject(data, "mask", mask);
    cJSON_AddNumberToObject(data, "addresses", (double)addresses);
    cJSON_AddNumberToObject(data, "hosts", (double)hosts);
    if (asked) {
        bool contains = (address & network_mask(network)) == network.first;
        char shown[ADDRESS_ROOM];
        address_text(address, shown);
        snprintf(text + length, sizeof text - (size_t)length, " %s is %sone of them.", shown, contains ? "" : "not ");
        cJSON_AddBoolToObject(data, "contains", contains);
    }

    memset(reply, 0, sizeof *reply);
    guest_string_dup(&reply->response, text);
    char *json = cJSON_PrintUnformatted(data);
    set(&reply->data, json);
    cJSON_free(json);
    cJSON_Delete(data);
    return true;
}

// Returns true with a reply, or false with a failure.
bool exports_agent_handle(exports_agent_task_t *task, exports_agent_reply_t *reply,
                          exports_agent_failure_t *failure) {
    bool answered = answer(task, reply, failure);
    exports_agent_task_free(task);
    return answered;
}
