#!/usr/bin/env python3
"""What 20 polite calls a second notice while two guests for each guest thread do their worst: p99 with and
without each attack, the longest that an attacker's own caller waited, the host's memory above idle.

Needs the release build and the guests (`stockade build tests/guests`); STOCKADE names another program.
Usage: benches/attack.py [SECONDS] [WORD]; with a word, only the attacks that have it in their name.
"""
import json, os, pathlib, subprocess, sys, tempfile, threading, time

from harness import Client, Host, guests, root

seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10
word = sys.argv[2] if len(sys.argv) > 2 else ""
threads = os.cpu_count()
texts = root / "tests/guests/text"

# What is attacked with: a name, the agent, the query.
ATTACKS = [
    ("a tight loop", "hostile", "loop"),
    ("polling 900 copies of a handle", "hostile", "poll-copies 900"),
    ("polling 450 timers", "hostile", "poll-timers 450"),
    ("waiting for what is ready", "hostile", "block"),
    ("strings, UTF-8 to UTF-8", "transcode", "a"),
    ("strings, UTF-8 to UTF-16", "transcode", "b"),
    ("strings, UTF-8 to either", "transcode", "c"),
    ("strings, UTF-16 to UTF-8", "transcode", "d"),
    ("resolving names of 15 MiB", "hostile", "resolve"),
    ("writing 16 MiB of lines at once", "hostile", "write"),
    ("writing 8 million lines", "hostile", "write-lines 8000000"),
    ("messages of 64 KiB of lines", "hostile", "log-messages 65536"),
    ("random numbers", "hostile", "random-numbers"),
    ("both clocks", "hostile", "clocks"),
    ("what a program asks at its start", "hostile", "start-up"),
    ("traps under a C++ name", "cpp", "trap"),
    ("traps under a Rust name of 1 MB", "rust", "trap"),
]


def cpp_name(levels=12):
    """Short as it is written, eight times longer with each level once it is unfolded."""
    before = lambda number: "S_" if number == 0 else "S" + "0123456789ABCDEFGHIJ"[number - 1] + "_"
    return "_Z1f4pairIiiE" + "".join("S_I" + before(n) * 8 + "E" for n in range(1, levels + 1))


def framed(core, imports="", given=""):
    """A guest written by hand, as tests/guests/README.md says."""
    text = (texts / "frame.wat").read_text().replace(";; CORE", core).replace(";; IMPORTS", imports)
    return text.replace("(instantiate $agent)", f"(instantiate $agent {given})")


def text_of(agent):
    core = lambda name: (texts / "cores" / f"{name}.wat").read_text()
    if agent == "transcode":
        return framed(core(agent), (texts / "stranger.wat").read_text(), '(with "stranger" (instance $stranger))')
    name = cpp_name() if agent == "cpp" else "_ZN" + "1a" * (1 << 19) + "17h0123456789abcdefE"
    return framed(core("trap-under-a-name").replace("NAME", name))


def call(agent, query):
    return json.dumps({"agent": agent, "query": query}).encode()


def polite(host, until, host_memory):
    """How long each polite call took, how many failed, the host's most memory."""
    client, took, failed, most = Client(host), [], 0, 0.0
    body, number = call("echo", "hello"), 0
    request = client.request("POST", "/orchestrator/execute", body)
    due = time.perf_counter()
    while time.perf_counter() < until:
        began = time.perf_counter()
        status, answer = client.send(request)
        took.append(time.perf_counter() - began)
        failed += status != 200 or json.loads(answer)["response"] != "hello"
        most = max(most, host.resident())
        number += 1
        due += 0.05
        time.sleep(max(0.0, due - time.perf_counter()))
    return took, failed, most - host_memory


def attack(host, body, until, waits, lock):
    client = Client(host)
    request = client.request("POST", "/orchestrator/execute", body)
    while time.perf_counter() < until:
        began = time.perf_counter()
        status, _ = client.send(request)
        with lock:
            waits.append((time.perf_counter() - began, status))


def measure(host, name, body):
    idle = host.resident()
    until, waits, lock = time.perf_counter() + seconds, [], threading.Lock()
    crowd = []
    if body:
        crowd = [threading.Thread(target=attack, args=(host, body, until, waits, lock)) for _ in range(2 * threads)]
    for one in crowd:
        one.start()
    took, failed, more = polite(host, until, idle)
    for one in crowd:
        one.join()
    took.sort()
    at = lambda share: took[min(len(took) - 1, int(len(took) * share))] * 1e3
    longest = f"{max(wait for wait, _ in waits):.1f} s" if waits else ""
    print(
        f"| {name} | {len(took)} | {failed} | {at(0.5):.1f} ms | {at(0.99):.1f} ms | {at(1):.0f} ms | {longest} | {more:.0f} MiB |",
        flush=True,
    )


def main():
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        agents = [f'[agents.echo]\ncomponent = "{guests}/guest_echo.wasm"']
        agents.append(f'[agents.hostile]\ncomponent = "{guests}/guest_hostile.wasm"\nlimits.timeout = "3s"')
        for agent in ("transcode", "cpp", "rust"):
            (folder / f"{agent}.wat").write_text(text_of(agent))
            assemble(folder / f"{agent}.wat", folder / f"{agent}.wasm")
            agents.append(f'[agents.{agent}]\ncomponent = "{folder}/{agent}.wasm"\nlimits.timeout = "3s"')
        (folder / "agents.toml").write_text("\n".join(agents) + "\n")
        with Host(folder / "agents.toml", folder / "data") as host:
            print("| beside | polite calls | failed | p50 | p99 | worst | an attacker waited at most | memory above idle |")
            print("|---|---|---|---|---|---|---|---|")
            measure(host, "nobody", None)
            for name, agent, query in ATTACKS:
                if word in name:
                    measure(host, name, call(agent, query))
            measure(host, "nobody, at the end", None)


def assemble(text, component):
    build = ["cargo", "run", "--quiet", "-p", "stockade-benches", "--bin", "assemble", "--", text, component]
    subprocess.run(build, cwd=root, check=True)


if __name__ == "__main__":
    main()
