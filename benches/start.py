#!/usr/bin/env python3
"""From start to ready, and what it holds: agents over the shipped components, cold and warm cache.

Needs the release build and the plugins: `cargo build --release && target/release/stockade build`.
Usage: benches/start.py [AGENTS...]   (default: 100)
"""
import json, pathlib, subprocess, sys, tempfile, time, urllib.request

root = pathlib.Path(__file__).resolve().parent.parent
host = root / "target/release/stockade"
components = sorted((root / "plugins/target/wasm32-wasip2/release").glob("*.wasm"))
port = 18003


def start(config, data):
    began = time.perf_counter()
    process = subprocess.Popen(
        [host, "serve", "--config", config, "--data-dir", data, "--listen", f"127.0.0.1:{port}"],
        stderr=subprocess.DEVNULL,
    )
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz") as answer:
                json.load(answer)
                ready = time.perf_counter() - began
                break
        except OSError:
            if process.poll() is not None:
                sys.exit("the host ended; run the command by hand to see why")
            time.sleep(0.002)
    time.sleep(1)
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    process.terminate()
    process.wait()
    return ready, resident / 1024


for count in [int(argument) for argument in sys.argv[1:]] or [100]:
    with tempfile.TemporaryDirectory() as folder:
        config = pathlib.Path(folder) / "agents.toml"
        config.write_text("".join(
            f'[agents.agent-{i:05}]\ncomponent = "{components[i % len(components)]}"\n' for i in range(count)
        ))
        data = pathlib.Path(folder) / "data"
        cold, cold_mib = start(config, data)
        warm = [start(config, data) for _ in range(5)]
        best = min(seconds for seconds, _ in warm)
        print(f"{count} agents over {len(components)} components: "
              f"cold {cold:.3f} s ({cold_mib:.0f} MiB resident), "
              f"warm {best:.3f} s best of five ({min(mib for _, mib in warm):.0f} MiB resident)")
