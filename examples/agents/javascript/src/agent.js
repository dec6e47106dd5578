// A subnet calculator: the range, mask and size of an IPv4 network.
//
// The same agent in other languages lies beside this one, and all give the same answers.

import { get } from "wasi:config/store@0.2.0-rc.1";
import { log } from "wasi:logging/logging@0.1.0-draft";

import { maskOf, parseAddress, parseNetwork, textOf } from "./ipv4.js";

const invalid = (message) => ({ tag: "invalid-input", val: message });

// Finds the network in a task, such as `10.1.2.3/22`.
function findNetwork(task) {
  const words = (task.match(/[0-9./]+/g) ?? []).map((word) => word.replace(/\.+$/, ""));
  const word = words.find((word) => word.includes("/"));
  if (word === undefined) throw invalid('name a network, as in "What is the range of 10.1.2.3/22?"');
  const network = parseNetwork(word);
  if (network === undefined) {
    throw invalid(
      `\`${word}\` is no IPv4 network: write four numbers up to 255 and a prefix up to 32, as in 10.1.2.3/22`,
    );
  }
  return network;
}

// How many addresses of each network are not for hosts: the operator's setting.
function reservedAddresses() {
  const value = get("reserved");
  if (value === undefined) return 2;
  if (!/^[0-9]+$/.test(value)) {
    throw { tag: "failed", val: `the agent's setting \`reserved\` is not usable: ${value}` };
  }
  return Number(value);
}

// The address that the caller gave along, to learn whether it is in the network.
function givenAddress(context) {
  const text = JSON.parse(context ?? "null")?.address;
  if (text === undefined) return undefined;
  const address = parseAddress(text);
  if (address === undefined) throw invalid(`\`${text}\` in the context is no IPv4 address`);
  return address;
}

export const agent = {
  describe() {
    return {
      name: "Subnet Calculator",
      description:
        "Works out the address range, the mask and the number of hosts of an IPv4 network in CIDR notation, " +
        "and whether an address is in it.",
      version: "0.1.0",
      category: "network",
      triggers: ["subnet", "netmask", "network mask", "cidr", "ip range", "address range", "how many hosts"],
      examples: [
        { task: "What is the range of 10.1.2.3/22?", expected: "10.1.0.0 to 10.1.3.255" },
        { task: "Netmask of 172.16.0.0/12", expected: "255.240.0.0" },
        { task: "How many hosts fit into 192.168.1.0/26" },
        { task: "Which addresses are in 10.0.0.0/30" },
      ],
      contextSchema: JSON.stringify({
        type: ["object", "null"],
        properties: { address: { type: "string", description: "An address to look for in the network" } },
      }),
      costPerQuery: "$0.000",
    };
  },

  handle(task) {
    const { first, prefix } = findNetwork(task.query);
    const address = givenAddress(task.context);
    const reserved = reservedAddresses();
    const addresses = 2 ** (32 - prefix);
    // A link of two and a single host have nothing to reserve.
    const hosts = prefix >= 31 ? addresses : Math.max(addresses - reserved, 0);
    const last = first + addresses - 1;
    const [from, to, mask] = [first, last, maskOf(prefix)].map(textOf);
    log("info", "", `the network ${from}/${prefix}`);
    let response =
      `${from}/${prefix}: ${from} to ${to}, mask ${mask}, ${hosts} of ${addresses} addresses for hosts.`;
    const data = { network: from, prefix, first: from, last: to, mask, addresses, hosts };
    if (address !== undefined) {
      data.contains = first <= address && address <= last;
      response += ` ${textOf(address)} is ${data.contains ? "" : "not "}one of them.`;
    }
    return { response, data: JSON.stringify(data) };
  },
};
