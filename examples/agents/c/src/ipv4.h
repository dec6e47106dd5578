// IPv4 addresses and networks, as numbers.

#ifndef IPV4_H
#define IPV4_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Room for an address as text.
#define ADDRESS_ROOM 16

typedef struct {
    uint32_t first;
    uint32_t prefix;
} network_t;

// Reads the address that a text of this length is; false for a text that is none.
bool address_parse(const char *text, size_t length, uint32_t *address);

// Reads a network such as `10.1.2.3/22`.
bool network_parse(const char *text, size_t length, network_t *network);

uint32_t network_mask(network_t network);
uint32_t network_last(network_t network);
uint64_t network_addresses(network_t network);

// How many addresses hosts can have, where `reserved` of each network are not for them.
uint64_t network_hosts(network_t network, uint64_t reserved);

// Writes an address as text.
void address_text(uint32_t address, char text[ADDRESS_ROOM]);

#endif
