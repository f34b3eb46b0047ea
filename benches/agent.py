#!/usr/bin/env python3
"""What the resident updater needs while a large package is unpacked.

    benches/agent.py CASTOFF [MEBIBYTES]

Starts `CASTOFF agent` on a device in a temporary folder, has a package of so many MiB (1024 unless told)
fetched from this process and installed, and asks for the progress all the while, on one connection. Prints
the memory (resident, idle and at most) and how long the answers took.
"""

import functools
import hashlib
import http.client
import http.server
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import threading
import time
import zipfile


def package(path, mebibytes):
    """A package with one large module, half of which can be compressed."""
    block = random.Random(1).randbytes(1 << 19) + bytes(1 << 19)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1, allowZip64=True) as archive:
        manifest = {
            "version": "1.0.0",
            "modules": [{"name": "large", "src": "large", "dst": str(path.parent / "opt/bin/large")}],
        }
        archive.writestr("manifest.json", json.dumps(manifest))
        with archive.open("large", "w", force_zip64=True) as file:
            for _ in range(mebibytes):
                file.write(block)


def md5(path):
    digest = hashlib.md5()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def memory(pid, name):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    return 0.0


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def main():
    castoff, mebibytes = sys.argv[1], int((sys.argv + ["1024"])[2])
    with tempfile.TemporaryDirectory(dir=os.environ.get("CASTOFF_BENCH_DIR")) as folder:
        folder = pathlib.Path(folder).resolve()
        folder.chmod(0o755)
        opt = folder / "opt"
        opt.mkdir()
        (opt / "launcher.toml").write_text(
            'app = "org.castoff.bench"\nclient_dir = "."\nlayout = "snapshot"\nlog_dir = "log"\n'
            'source.kind = "pushed"\nnetwork.max_package_size = "16 GiB"\n'
        )
        (opt / "agent.toml").write_text(
            'listen = "127.0.0.1:0"\nreport_url = ""\n[services]\ncontrol = "none"\n'
        )
        package(folder / "1.zip", mebibytes)
        handler = functools.partial(Quiet, directory=folder)
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        agent = subprocess.Popen([castoff, "agent", "--dir", opt], stderr=subprocess.PIPE, text=True)
        try:
            address = agent.stderr.readline().split("http://")[1].split(";")[0]
            connection = http.client.HTTPConnection(address)

            def call(method, path, body=None):
                body = json.dumps(body) if body else None
                connection.request(method, path, body, {"Content-Type": "application/json"})
                return json.loads(connection.getresponse().read())

            def watch(until):
                taken = []
                while True:
                    begun = time.perf_counter()
                    stage = call("GET", "/api/v1.0/progress")["data"]["stage"]
                    taken.append((time.perf_counter() - begun) * 1000)
                    if stage in (until, "failed"):
                        return stage, sorted(taken)
                    time.sleep(0.001)

            call("GET", "/api/v1.0/progress")
            time.sleep(1)
            print(f"idle: {memory(agent.pid, 'VmRSS'):.1f} MiB resident")
            order = {
                "version": "1.0.0",
                "package_url": f"http://127.0.0.1:{server.server_port}/1.zip",
                "package_name": "1.zip",
                "package_size": (folder / "1.zip").stat().st_size,
                "package_md5": md5(folder / "1.zip"),
            }
            for path, body, until in [
                ("/api/v1.0/download", order, "toInstall"),
                ("/api/v1.0/update", {"version": "1.0.0"}, "success"),
            ]:
                begun = time.perf_counter()
                call("POST", path, body)
                stage, taken = watch(until)
                print(
                    f"{path}: {stage} after {time.perf_counter() - begun:.1f} s; {len(taken)} answers, "
                    f"median {taken[len(taken) // 2]:.2f} ms, "
                    f"99th percentile {taken[len(taken) * 99 // 100]:.2f} ms, longest {taken[-1]:.2f} ms"
                )
            print(f"at most: {memory(agent.pid, 'VmHWM'):.1f} MiB resident")
        finally:
            agent.terminate()
            agent.wait()


if __name__ == "__main__":
    main()
