#!/usr/bin/env python3
"""Changes an agent again and again while clients call it: how long a change takes, and what it costs.

A change is the component under another digest (a custom section with a number), or other settings
of the agent. Timed from the moment the file is complete (before it is renamed into place, or
closed) to the first answer of the new version, as one more client sees it that asks about every
millisecond, and less often the longer it takes. Checked on the way: no request fails; no answer is of a generation below one that was
seen before the request was sent; agents that share the file change together; memory, mapped
files and files on disk do not grow.

Needs the release build and the guests: `cargo build --release && target/release/stockade build tests/guests`.
"""
import argparse, hashlib, json, multiprocessing, os, pathlib, re, sys, tempfile, threading, time

from harness import Client, Host, guests, spread, variant

parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
parser.add_argument("--component", type=pathlib.Path, default=guests / "guest_health.wasm")
parser.add_argument("--second", type=pathlib.Path, help="every other change is of this build of the same agent: an edit, and not only another digest")
parser.add_argument("--command", choices=["serve", "dev"], default="serve")
parser.add_argument("--query", default="hello")
parser.add_argument("--changes", type=int, default=1000)
parser.add_argument("--back", type=int, default=20, help="then so many times to the version before and back")
parser.add_argument("--write", choices=["rename", "plain"], default="rename", help="rename into place, or write and close")
parser.add_argument("--what", choices=["component", "settings"], default="component")
parser.add_argument("--agents", type=int, default=1, help="agents that share the file")
parser.add_argument("--clients", type=int, default=32, help="connections; 0: nobody else calls")
parser.add_argument("--rate", type=float, default=0, help="requests a second of all together; 0: flat out")
parser.add_argument("--pause", type=float, default=0.02, help="seconds between two changes")
parser.add_argument("--settings", default="", help="lines for agents.toml's top")
parser.add_argument("--log", type=pathlib.Path, help="keep the host's log there")
options = parser.parse_args()

PROCESSES = 2
WARMING, MEASURING, STOPPED = range(3)
GENERATION = re.compile(rb'"agent_generation":(\d+)')
DIGEST = re.compile(rb'"agent_digest":"([0-9a-f]+)"')
agents = [f"agent-{number}" for number in range(options.agents)]
body = lambda agent: json.dumps({"agent": agent, "query": options.query}).encode()


class Seen:
    """For each agent the highest generation that anybody has seen; shared between processes."""

    def __init__(self):
        self.highest = multiprocessing.Array("Q", len(agents))

    def call(self, client, agent, request):
        """Generation and digest of an answer, or what is wrong with it."""
        before = self.highest.get_obj()[agent]  # without the lock: whoever writes it has its answer already
        status, answer = client.send(request)
        if status != 200:
            raise ValueError(f"status {status}: {answer[:300]!r}")
        generation = int(GENERATION.search(answer)[1])
        if generation < before:
            raise ValueError(f"generation {generation} after {before} was seen")
        if generation > before:
            with self.highest.get_lock():
                self.highest[agent] = max(self.highest[agent], generation)
        return generation, DIGEST.search(answer)[1].decode()


def clients(host, seen, connections, period, phase, results):
    """A process of clients: how many answers there were, their times, and everything that went wrong."""
    wrong, times, lock = [], [], threading.Lock()

    def one(number):
        mine, due = [], time.perf_counter() + period * number / max(1, connections)
        try:
            client = Client(host)
            requests = [client.request("POST", "/orchestrator/execute", body(agent)) for agent in agents]
            turn = number
            while phase.value != STOPPED:
                if period:
                    time.sleep(max(0, due - time.perf_counter()))
                    due += period
                agent, turn = turn % len(agents), turn + 1
                began = time.perf_counter()
                try:
                    seen.call(client, agent, requests[agent])
                except ValueError as error:
                    wrong.append(str(error))
                if phase.value == MEASURING:
                    mine.append(time.perf_counter() - began)
        except OSError as error:
            wrong.append(f"connection: {error}")
        with lock:
            times.extend(mine)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    step = max(1, len(times) // 100_000)
    results.put((len(times), sorted(times)[::step], wrong))


def put(path, content):
    """Writes the file; the moment at which it is complete."""
    if options.write == "plain":
        with open(path, "wb", buffering=0) as file:
            file.write(content)
            return time.perf_counter()
    aside = path.with_suffix(".aside")
    aside.write_bytes(content)
    now = time.perf_counter()
    os.rename(aside, path)
    return now


def main():
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        file, config = folder / "agent.wasm", folder / "agents.toml"
        builds = [path.read_bytes() for path in [options.component, options.second] if path]
        settings = lambda number: (options.settings + "\n" + "".join(
            f'[agents.{agent}]\ncomponent = "{file}"\nconfig = {{ number = "{number}" }}\n' for agent in agents
        )).encode()
        config.write_bytes(settings("first"))
        file.write_bytes(variant(builds[0], "first"))
        log = open(options.log, "wb") if options.log else open(os.devnull, "wb")
        with log, Host(config, folder / "data", log, options.command) as host:
            return run(host, builds, file, config, settings)


def run(host, builds, file, config, settings):
    seen, results = Seen(), multiprocessing.Queue()
    phase = multiprocessing.Value("b", WARMING, lock=False)
    period = options.clients / options.rate if options.rate else 0
    load = [
        multiprocessing.Process(
            target=clients,
            args=(host, seen, options.clients // PROCESSES, period, phase, results),
        )
        for _ in range(PROCESSES if options.clients else 0)
    ]
    for process in load:
        process.start()
    poller, wrong, held = Client(host), [], {}
    requests = [poller.request("POST", "/orchestrator/execute", body(agent)) for agent in agents]

    def change(number):
        """One change, until every agent has answered with it; seconds."""
        before = seen.call(poller, 0, requests[0])[0]
        if options.what == "component":
            content = variant(builds[number % len(builds) if isinstance(number, int) else 0], number)
            wanted = hashlib.sha256(content).hexdigest()
            complete, is_new = put(file, content), lambda generation, digest: digest == wanted
        else:
            complete, is_new = put(config, settings(number)), lambda generation, digest: generation > before
        while True:
            answer = seen.call(poller, 0, requests[0])
            now = time.perf_counter()
            if is_new(*answer):
                break
            if now > complete + 120:
                raise ValueError(f"change {number} does not arrive")
            # Who asks takes its share of a processor from the compiler: the longer it takes, the less often.
            time.sleep(max(0.0005, (now - complete) / 200))
        others = [seen.call(poller, agent, requests[agent]) for agent in range(1, len(agents))]
        if not all(is_new(*other) for other in others):
            wrong.append(f"change {number}: agents of one file did not change together")
        time.sleep(options.pause)
        return now - complete

    # The first calls warm the host up, and the first changes fill what is kept of earlier versions.
    time.sleep(0.5)
    for number in range(min(8, options.changes // 5)):
        change(f"warm-up {number}")
    phase.value = MEASURING
    began, work = time.perf_counter(), host.processor_time()
    times, back = [], []
    marks = {1, options.changes // 10, options.changes // 2, options.changes}
    for number in range(options.changes):
        times.append(change(number))
        if number + 1 in marks:
            held[number + 1] = host.held()
    if options.what == "component":
        last = options.changes - 1
        back = [change(last - 1 + number % 2) for number in range(options.back)]
    took, work = time.perf_counter() - began, host.processor_time() - work
    phase.value = STOPPED
    answers, answer_times = 0, []
    for _ in load:
        count, some, faults = results.get()
        answers, answer_times, wrong = answers + count, answer_times + some, wrong + faults
    for process in load:
        process.join()
    page = json.loads(poller.get(f"/orchestrator/agents/{agents[0]}")[1])

    load_text = "idle" if not options.clients else "flat out" if not options.rate else f"{options.rate:.0f}/s asked for"
    changed = f"{options.component.name} ({len(builds[0]) // 1000} kB{', edited' if options.second else ''}), {options.command}" if options.what == "component" else "settings"
    print(f"{changed}, {options.write}, {options.agents} agent(s), {options.clients if load else 0} clients {load_text}")
    print(f"  ready, on an empty cache: {host.ready:.2f} s")
    print(f"  change to first answer: {spread(times)}")
    if back:
        print(f"  a version that is kept: {spread(back)}")
    if load:
        print(f"  {answers} answers, {answers / took:.0f}/s, {spread(answer_times)}")
    print(f"  {took:.0f} s, {work:.0f} s of processor time, generation {page['generation']}")
    for number, what in sorted(held.items()):
        print(f"  after {number}: " + ", ".join(f"{name} {value}" for name, value in what.items()))
    print(f"  wrong: {len(wrong)}" + "".join(f"\n    {one}" for one in wrong[:10]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
