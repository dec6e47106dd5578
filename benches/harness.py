"""What the measuring scripts share: a host of the release build, its memory, and a client.

Python's standard library and Linux's /proc only.
"""
import os, pathlib, random, re, signal, socket, subprocess, sys, time

root = pathlib.Path(__file__).resolve().parent.parent
program = pathlib.Path(os.environ.get("STOCKADE", root / "target/release/stockade"))
guests = root / "tests/guests/target/wasm32-wasip2/release"
plugins = root / "plugins/target/wasm32-wasip2/release"


def leb128(number):
    """A number as WebAssembly writes it."""
    out = bytearray()
    while True:
        number, low = number >> 7, number & 0x7F
        out.append(low | (0x80 if number else 0))
        if not number:
            return bytes(out)


def variant(component, name):
    """The same component under another digest: a custom section with this text at its end."""
    section = leb128(7) + b"variant" + str(name).encode()
    return component + b"\0" + leb128(len(section)) + section


class Host:
    """A host that serves `config` with its data below `data`; ends with the `with` block."""

    def __init__(self, config, data, log=subprocess.DEVNULL, command="serve"):
        self.data = pathlib.Path(data)
        self.began = time.perf_counter()
        self.process = subprocess.Popen(
            [program, command, "--json", "--config", config, "--data-dir", data, "--listen", "127.0.0.1:0"],
            stdout=subprocess.PIPE, stderr=log,
        )
        match = re.search(rb"http://127\.0\.0\.1:(\d+)", self.process.stdout.readline())
        if not match:
            sys.exit("the host does not listen; run the command by hand to see why")
        self.address = ("127.0.0.1", int(match[1]))
        probe = Client(self)
        while probe.get("/readyz")[0] != 200:
            time.sleep(0.001)
        self.ready = time.perf_counter() - self.began

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _proc(self, name):
        return pathlib.Path(f"/proc/{self.process.pid}/{name}").read_text()

    def resident(self, kind="VmRSS"):
        """MiB."""
        return int(re.search(rf"{kind}:\s+(\d+)", self._proc("status"))[1]) / 1024

    def processor_time(self):
        """Seconds, those of children that ended included."""
        fields = self._proc("stat").rsplit(")", 1)[1].split()
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")

    def held(self):
        """What must not grow with the number of reloads."""
        compiled = {line.split(None, 5)[5] for line in self._proc("maps").splitlines() if ".cwasm" in line}
        count = lambda folder: sum(path.is_file() for path in (self.data / folder).rglob("*"))
        return {
            "resident MiB": round(self.resident(), 1),
            "anonymous MiB": round(self.resident("RssAnon"), 1),
            "mapped .cwasm": len(compiled),
            "mappings": self._proc("maps").count("\n"),
            "in cache/": count("cache"),
            "in components/": count("components"),
            "registry.db kB": sum(f.stat().st_size for f in self.data.glob("registry.db*")) // 1000,
            "open files": len(os.listdir(f"/proc/{self.process.pid}/fd")),
            "threads": len(os.listdir(f"/proc/{self.process.pid}/task")),
        }


class Client:
    """One connection that is kept, and that fails rather than try again."""

    def __init__(self, host):
        key = (host.data / "admin.key").read_text().strip()
        self.head = f"Host: bench\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
        self.socket = socket.create_connection(host.address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def request(self, method, path, body=b""):
        """A request's bytes, to be sent any number of times."""
        return f"{method} {path} HTTP/1.1\r\n{self.head}Content-Length: {len(body)}\r\n\r\n".encode() + body

    def send(self, request):
        """Status and body."""
        self.socket.sendall(request)
        data = self.socket.recv(65536)
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self._more()
        length = int(re.search(rb"content-length: (\d+)", data[:end])[1])
        while len(data) < end + 4 + length:
            data += self._more()
        return int(data[9:12]), data[end + 4:]

    def _more(self):
        more = self.socket.recv(1 << 20)
        if not more:
            raise ConnectionError("the host closed the connection")
        return more

    def get(self, path):
        return self.send(self.request("GET", path))

    def post(self, path, body):
        return self.send(self.request("POST", path, body))


def spread(seconds):
    """p50, p90, p99 and the worst, in milliseconds."""
    if not seconds:
        return "none"
    ordered = sorted(seconds)
    at = lambda share: ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1e3
    worst = ordered[-1] * 1e3
    return f"p50 {at(0.5):.1f} ms, p90 {at(0.9):.1f} ms, p99 {at(0.99):.1f} ms, worst {worst:.1f} ms ({len(ordered)} times)"
