#include "ipv4.h"

#include <stdio.h>
#include <string.h>

// Reads a number of at most `digits` digits, and moves on behind it.
static bool number_parse(const char **at, const char *end, int digits, uint32_t *number) {
    const char *begin = *at;
    *number = 0;
    while (*at < end && **at >= '0' && **at <= '9' && *at - begin < digits) {
        *number = *number * 10 + (uint32_t)(*(*at)++ - '0');
    }
    return *at > begin;
}

bool address_parse(const char *text, size_t length, uint32_t *address) {
    const char *at = text, *end = text + length;
    *address = 0;
    for (int part = 0; part < 4; part++) {
        if (part > 0 && (at == end || *at++ != '.')) return false;
        const char *begin = at;
        uint32_t number;
        if (!number_parse(&at, end, 3, &number) || number > 255) return false;
        // Some read 010 as eight: it is nothing here.
        if (*begin == '0' && at - begin > 1) return false;
        *address = *address << 8 | number;
    }
    return at == end;
}

bool network_parse(const char *text, size_t length, network_t *network) {
    const char *slash = memchr(text, '/', length);
    uint32_t address;
    if (slash == NULL || !address_parse(text, (size_t)(slash - text), &address)) return false;
    const char *at = slash + 1, *end = text + length;
    if (!number_parse(&at, end, 2, &network->prefix) || at != end || network->prefix > 32) return false;
    network->first = address & network_mask(*network);
    return true;
}

uint32_t network_mask(network_t network) {
    // A shift by all 32 bits means nothing in C.
    return network.prefix == 0 ? 0 : UINT32_MAX << (32 - network.prefix);
}

uint32_t network_last(network_t network) {
    return network.first | ~network_mask(network);
}

uint64_t network_addresses(network_t network) {
    return UINT64_C(1) << (32 - network.prefix);
}

uint64_t network_hosts(network_t network, uint64_t reserved) {
    uint64_t addresses = network_addresses(network);
    // A link of two and a single host have nothing to reserve.
    if (network.prefix >= 31) return addresses;
    return addresses > reserved ? addresses - reserved : 0;
}

void address_text(uint32_t address, char text[ADDRESS_ROOM]) {
    snprintf(text, ADDRESS_ROOM, "%u.%u.%u.%u", (unsigned)(address >> 24), (unsigned)(address >> 16 & 255),
             (unsigned)(address >> 8 & 255), (unsigned)(address & 255));
}
