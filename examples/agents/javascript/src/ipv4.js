// IPv4 addresses and networks, as numbers from 0 to 2^32 - 1: what the bit operators of JavaScript
// give is signed, so `>>> 0` follows each.

// The number that an address stands for; undefined for a text that is none.
export function parseAddress(text) {
  const parts = text.split(".");
  const isByte = (part) => /^(0|[1-9][0-9]{0,2})$/.test(part) && Number(part) <= 255;
  if (parts.length !== 4 || !parts.every(isByte)) return undefined;
  return parts.reduce((number, part) => number * 256 + Number(part), 0);
}

// The first address and the prefix of a network such as `10.1.2.3/22`; undefined for a text that is none.
export function parseNetwork(text) {
  const [head, tail, ...more] = text.split("/");
  const address = parseAddress(head);
  const prefix = /^[0-9]{1,2}$/.test(tail) ? Number(tail) : 33;
  if (address === undefined || prefix > 32 || more.length > 0) return undefined;
  return { first: (address & maskOf(prefix)) >>> 0, prefix };
}

// The mask with this many leading ones. (A shift by 32 would be a shift by 0.)
export function maskOf(prefix) {
  return prefix === 0 ? 0 : (0xffffffff << (32 - prefix)) >>> 0;
}

export function textOf(address) {
  return [24, 16, 8, 0].map((shift) => (address >>> shift) & 255).join(".");
}
