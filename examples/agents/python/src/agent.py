"""A subnet calculator: the range, mask and size of an IPv4 network.

The same agent in other languages lies beside this one, and all give the same answers.
"""

import json
import re
from ipaddress import AddressValueError, IPv4Address, IPv4Network

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.agent import (
    Description,
    Example,
    Failure_Failed,
    Failure_InvalidInput,
    Reply,
    Task,
)
from wit_world.imports import logging, store

CONTEXT_SCHEMA = {
    "type": ["object", "null"],
    "properties": {
        "address": {"type": "string", "description": "An address to look for in the network"},
    },
}


def find_network(task: str) -> IPv4Network:
    """Finds the network in a task, such as `10.1.2.3/22`."""
    words = (word.rstrip(".") for word in re.findall(r"[0-9./]+", task))
    word = next((word for word in words if "/" in word), None)
    if word is None:
        raise Err(Failure_InvalidInput('name a network, as in "What is the range of 10.1.2.3/22?"'))
    try:
        # The module takes a mask for a prefix, too, and this agent does not.
        if not re.fullmatch(r"[0-9.]+/[0-9]{1,2}", word):
            raise ValueError
        return IPv4Network(word, strict=False)
    except ValueError:
        raise Err(
            Failure_InvalidInput(
                f"`{word}` is no IPv4 network: write four numbers up to 255 and a prefix up to 32, as in 10.1.2.3/22"
            )
        ) from None


def reserved_addresses() -> int:
    """How many addresses of each network are not for hosts: the operator's setting."""
    value = store.get("reserved")
    if value is None:
        return 2
    if not re.fullmatch("[0-9]+", value):
        raise Err(Failure_Failed(f"the agent's setting `reserved` is not usable: {value}"))
    return int(value)


def given_address(task: Task) -> IPv4Address | None:
    """The address that the caller gave along, to learn whether it is in the network."""
    context = json.loads(task.context) if task.context else None
    address = context.get("address") if context else None
    if address is None:
        return None
    try:
        return IPv4Address(address)
    except AddressValueError:
        raise Err(Failure_InvalidInput(f"`{address}` in the context is no IPv4 address")) from None


class Agent(exports.Agent):
    def describe(self) -> Description:
        return Description(
            name="Subnet Calculator",
            description="Works out the address range, the mask and the number of hosts of an IPv4 network in CIDR "
            "notation, and whether an address is in it.",
            version="0.1.0",
            category="network",
            triggers=[
                "subnet",
                "netmask",
                "network mask",
                "cidr",
                "ip range",
                "address range",
                "how many hosts",
            ],
            examples=[
                Example("What is the range of 10.1.2.3/22?", "10.1.0.0 to 10.1.3.255"),
                Example("Netmask of 172.16.0.0/12", "255.240.0.0"),
                Example("How many hosts fit into 192.168.1.0/26", None),
                Example("Which addresses are in 10.0.0.0/30", None),
            ],
            context_schema=json.dumps(CONTEXT_SCHEMA),
            model=None,
            cost_per_query="$0.000",
            default_query=None,
        )

    def handle(self, task: Task) -> Reply:
        network = find_network(task.query)
        address = given_address(task)
        reserved = reserved_addresses()
        total = network.num_addresses
        # A link of two and a single host have nothing to reserve.
        hosts = total if network.prefixlen >= 31 else max(total - reserved, 0)
        first, last = network.network_address, network.broadcast_address
        logging.log(logging.Level.INFO, "", f"the network {network}")
        text = f"{network}: {first} to {last}, mask {network.netmask}, {hosts} of {total} addresses for hosts."
        data = {
            "network": str(first),
            "prefix": network.prefixlen,
            "first": str(first),
            "last": str(last),
            "mask": str(network.netmask),
            "addresses": total,
            "hosts": hosts,
        }
        if address is not None:
            contains = address in network
            text += f" {address} is {'' if contains else 'not '}one of them."
            data["contains"] = contains
        return Reply(response=text, data=json.dumps(data), model=None)
