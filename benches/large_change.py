#!/usr/bin/env python3
"""Makes ten thousand agents of one while others work: how long those wait.

A thread each asks for something again and again while `POST /api/agents/generate` runs: a call, an agent's page, a
change of another agent (`PUT` of other settings). Printed are how long the large change took and, of what was asked
while it ran, the median and the longest time. Give several programs to compare them; they take turns.

    benches/large_change.py [--agents N] [--rounds N] PROGRAM...

Needs the guests: `stockade build tests/guests`.
"""
import argparse, json, os, pathlib, statistics, tempfile, threading, time

parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
parser.add_argument("--agents", type=int, default=10_000)
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--component", type=pathlib.Path)
parser.add_argument("programs", nargs="+", type=pathlib.Path)
options = parser.parse_args()

import harness
from harness import Client, Host

component = options.component or harness.guests / "guest_echo.wasm"


def watch(host, method, path, bodies, started, ended, times):
    """Asks until the large change is over; keeps how long each answer took that was waited for meanwhile."""
    client = Client(host)
    started.wait()
    for body in bodies:
        request = client.request(method, path, json.dumps(body).encode() if body else b"")
        began = time.perf_counter()
        status, answer = client.send(request)
        if status != 200:
            raise SystemExit(f"{method} {path}: status {status}: {answer[:300]!r}")
        times.append((time.perf_counter() - began) * 1000)
        if ended.is_set():
            return


def forever(make):
    number = 0
    while True:
        number += 1
        yield make(number)


def measure(program):
    harness.program = program
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "agents.toml").write_text(f'[agents.a]\ncomponent = "{component}"\n')
        with Host(folder / "agents.toml", folder / "data") as host:
            admin = Client(host)
            body = json.dumps({"template": "a", "count": 1, "prefix": "other-"}).encode()
            assert admin.send(admin.request("POST", "/api/agents/generate", body))[0] == 201
            digest = json.loads(admin.get("/orchestrator/agents/a")[1])["digest"]
            asked = {
                "call": ("POST", "/orchestrator/execute", forever(lambda _: {"agent": "a", "query": "x"})),
                "page": ("GET", "/orchestrator/agents/a", forever(lambda _: None)),
                "change": ("PUT", "/api/agents/other-000", forever(lambda n: {"component": digest, "name": f"Name {n}"})),
            }
            times = {name: [] for name in asked}
            started, ended = threading.Event(), threading.Event()
            threads = [
                threading.Thread(target=watch, args=(host, *what, started, ended, times[name]))
                for name, what in asked.items()
            ]
            for thread in threads:
                thread.start()
            body = json.dumps({"template": "a", "count": options.agents, "prefix": "made-"}).encode()
            request = admin.request("POST", "/api/agents/generate", body)
            started.set()
            began = time.perf_counter()
            status, answer = admin.send(request)
            took = (time.perf_counter() - began) * 1000
            ended.set()
            assert status == 201, answer[:300]
            for thread in threads:
                thread.join()
            return took, times


print("| program | round | the large change | " + " | ".join(f"{name}: median, longest" for name in ("call", "page", "change")) + " |")
print("|---|---|---|---|---|---|")
for round in range(1, options.rounds + 1):
    for program in options.programs:
        took, times = measure(program)
        cells = [f"{statistics.median(t):.1f}, {max(t):.0f} ms" for t in times.values()]
        print(f"| {program.name} | {round} | {took:.0f} ms | " + " | ".join(cells) + " |", flush=True)
