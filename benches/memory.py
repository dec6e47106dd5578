#!/usr/bin/env python3
"""Large fleets over ten components: from start to ready, and what the host holds.

Each fleet twice: named in agents.toml, and generated of templates while the host runs
(`POST /api/agents/generate`: of one component in one request, of ten in ten), then started again.
Resident is measured two seconds after ready, with the cache warm.

Needs the release build, the plugins and the guests:
`cargo build --release && target/release/stockade build && target/release/stockade build tests/guests`.
Usage: benches/memory.py [AGENTS...]   (default: 1000 10000)
"""
import json, pathlib, sys, tempfile, time

from harness import Client, Host, guests, plugins, variant

COMPONENTS = 10
ROUNDS = 3


def components(folder):
    """Ten: the shipped ones, the guests that behave, and the shipped ones again under other digests."""
    own = sorted(plugins.glob("*.wasm")) + [guests / f"guest_{name}.wasm" for name in ("echo", "health")]
    made = []
    for number in range(COMPONENTS - len(own)):
        made.append(folder / f"variant-{number}.wasm")
        made[-1].write_bytes(variant(own[number % len(own)].read_bytes(), number))
    return own + made


def look(host):
    time.sleep(2)
    return f"{host.resident():.0f} MiB resident, {host.resident('RssAnon'):.0f} of them anonymous, at most {host.resident('VmHWM'):.0f}"


def from_file(count, folder):
    files = components(folder)
    config = folder / "agents.toml"
    config.write_text("".join(
        f'[agents.agent-{i:05}]\ncomponent = "{files[i % COMPONENTS]}"\n' for i in range(count)
    ))
    with Host(config, folder / "data") as host:
        print(f"{count} of agents.toml, cold: ready in {host.ready:.2f} s, {look(host)}")
    best = None
    for _ in range(ROUNDS):
        with Host(config, folder / "data") as host:
            said = host.ready, look(host)
            best = min(best or said, said)
    print(f"{count} of agents.toml, warm: ready in {best[0]:.2f} s (best of {ROUNDS}), {best[1]}")


def generated(count, folder, requests):
    files = components(folder)
    config = folder / "agents.toml"
    config.write_text("".join(f'[agents.template-{i}]\ncomponent = "{file}"\n' for i, file in enumerate(files)))
    with Host(config, folder / "data") as host:
        client, times = Client(host), []
        for i in range(requests):
            body = {"template": f"template-{i}", "count": count // requests, "prefix": f"made-{i}-"}
            asked = time.perf_counter()
            status, answer = client.post("/api/agents/generate", json.dumps(body).encode())
            times.append(time.perf_counter() - asked)
            if status != 201:
                sys.exit(f"status {status}: {answer[:500]!r}")
        print(f"{count} generated in {requests} request(s): {sum(times):.2f} s, the slowest {max(times):.2f} s, {look(host)}")
    with Host(config, folder / "data") as host:
        print(f"the same started again: ready in {host.ready:.2f} s, {look(host)}")


for count in [int(argument) for argument in sys.argv[1:]] or [1000, 10000]:
    for kind in (from_file, lambda *to: generated(*to, 1), lambda *to: generated(*to, COMPONENTS)):
        with tempfile.TemporaryDirectory() as folder:
            kind(count, pathlib.Path(folder))
