#!/usr/bin/env python3
"""The release server beside nginx: answers a second, packages a second, and memory.

    benches/server.py CASTOFF [--rounds N] [--seconds S] [--memory]

Needs wrk and nginx (Debian: wrk, nginx-light) and two processors: the server has one, wrk the other.
nginx serves the same bytes as static files. The rounds of both take turns; each figure is the median.
With --memory: the most memory (VmHWM) of the server while 200 clients download, slowly, and a package
of 1 GiB is uploaded.
"""

import argparse
import base64
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import zipfile

APP = "org.example.app"
PACKAGE = 32 << 20


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def on(processor, command, **more):
    return subprocess.Popen(["taskset", "-c", str(processor), *command], **more)


class Castoff:
    def __init__(self, castoff, folder):
        self.folder = folder
        path = os.path.join(folder, "serve.toml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(f'data = "{folder}/data"\nrequest_log = false\n')
        command = [castoff, "serve", "--config", path]
        make = ["token", "add", "bench", "--role", "admin"]
        self.token = subprocess.run(
            command + make, check=True, capture_output=True, text=True
        ).stdout.strip()
        self.process = on(0, command + ["--listen", "127.0.0.1:0"], stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            if line.startswith("Listening on "):
                self.address = line.split()[-1]
                break
        threading.Thread(target=self.process.stderr.read, daemon=True).start()
        self.ask("POST", "/api/v1/apps", json.dumps({"key": APP}).encode())

    def ask(self, method, path, body=None, headers=None):
        headers = {"Authorization": f"Bearer {self.token}", **(headers or {})}
        request = urllib.request.Request(self.address + path, body, headers, method=method)
        with urllib.request.urlopen(request) as answer:
            return answer.headers, answer.read()

    def publish(self, version, size):
        name = f"app-{version}.zip"
        path = os.path.join(self.folder, name)
        with zipfile.ZipFile(path, "w") as archive, archive.open("data.bin", "w", force_zip64=True) as entry:
            while size > 0:
                entry.write(os.urandom(min(size, 1 << 20)))
                size -= 1 << 20
        base = f"/api/v1/apps/{APP}"
        metadata = "filename " + base64.b64encode(name.encode()).decode()
        length = str(os.path.getsize(path))
        headers, _ = self.ask(
            "POST", f"{base}/uploads", b"", {"Upload-Length": length, "Upload-Metadata": metadata}
        )
        with open(path, "rb") as file:
            self.ask("PATCH", headers["Location"], file, {
                "Upload-Offset": "0", "Content-Length": length,
                "Content-Type": "application/offset+octet-stream",
            })
        os.remove(path)
        wish = {"version": version, "upload": headers["Location"].rsplit("/", 1)[1]}
        _, body = self.ask("POST", f"{base}/releases", json.dumps(wish).encode())
        self.ask("POST", f"{base}/channels/stable/activate", json.dumps({"version": version}).encode())
        return json.loads(body)["packages"][0]

    def most_memory(self):
        with open(f"/proc/{self.process.pid}/status", encoding="utf-8") as file:
            return int(re.search(r"VmHWM:\s+(\d+)", file.read())[1]) / 1024


def nginx(folder, answer, media):
    root = os.path.join(folder, "www")
    os.makedirs(root)
    with open(os.path.join(root, "check"), "wb") as file:
        file.write(answer)
    os.link(media, os.path.join(root, "package.zip"))
    os.chmod(folder, 0o755)
    port = free_port()
    path = os.path.join(folder, "nginx.conf")
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"""
            user root; worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log;
            events {{ worker_connections 1024; }}
            http {{
                access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000;
                open_file_cache max=100;
                default_type application/json;
                server {{ listen 127.0.0.1:{port}; root {root}; }}
            }}
        """)
    process = on(0, [shutil.which("nginx") or "/usr/sbin/nginx", "-c", path])
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return process, f"http://127.0.0.1:{port}"
        except OSError:
            time.sleep(0.05)


def wrk(address, seconds, connections):
    """Requests a second, megabytes a second, and the 99th percentile in milliseconds."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", address]
    with on(1, command, stdout=subprocess.PIPE, text=True) as process:
        text = process.stdout.read()
    if "Non-2xx" in text:
        sys.exit(f"{address}: {text}")
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1])
    number, unit = re.search(r"Transfer/sec:\s+([\d.]+)([KMG]?)B", text).groups()
    bytes_ = float(number) * {"": 1e-6, "K": 1e-3 * 1.024, "M": 1.048576, "G": 1073.741824}[unit]
    number, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", text).groups()
    return rate, bytes_, float(number) * {"us": 1e-3, "ms": 1, "s": 1e3}[unit]


def compare(castoff, other, seconds, rounds, connections):
    figures = ([], [])
    for _ in range(rounds):
        for address, found in zip((castoff, other), figures):
            found.append(wrk(address, seconds, connections))
    return [tuple(map(statistics.median, zip(*found))) for found in figures]


def memory(server):
    package = server.publish("2.0.0", 64 << 20)

    def download():
        with urllib.request.urlopen(server.address + package["url"]) as answer:
            while answer.read(1 << 20):
                time.sleep(0.05)

    threads = [threading.Thread(target=download) for _ in range(200)]
    for thread in threads:
        thread.start()
    server.publish("3.0.0", 1 << 30)
    for thread in threads:
        thread.join()
    print(f"most memory, 200 downloads and an upload of 1 GiB: {server.most_memory():.0f} MiB")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("castoff")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--memory", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = Castoff(os.path.abspath(arguments.castoff), folder)
        package = server.publish("1.0.0", PACKAGE)
        _, answer = server.ask("GET", f"/apps/{APP}/check")
        media = os.path.join(folder, "data", package["url"].lstrip("/"))
        process, other = nginx(folder, answer, media)
        try:
            ours, theirs = compare(
                f"{server.address}/apps/{APP}/check", f"{other}/check",
                arguments.seconds, arguments.rounds, 64,
            )
            print(f"check, {len(answer)} bytes: {ours[0]:.0f} a second (99 %: {ours[2]:.2f} ms), nginx "
                  f"{theirs[0]:.0f} ({theirs[2]:.2f} ms): {ours[0] / theirs[0]:.2f}")
            ours, theirs = compare(
                server.address + package["url"], f"{other}/package.zip",
                arguments.seconds, arguments.rounds, 8,
            )
            print(f"download of 32 MiB: {ours[1]:.0f} MB/s, nginx {theirs[1]:.0f} MB/s: "
                  f"{ours[1] / theirs[1]:.2f}")
            if arguments.memory:
                memory(server)
        finally:
            for running in (process, server.process):
                running.send_signal(signal.SIGTERM)
                running.wait()


if __name__ == "__main__":
    main()
