#!/usr/bin/env python3
"""Kills the release server at random moments while eight clients publish and activate.

    ci/server-torture.py CASTOFF OPERATIONS [--seed N] [--database URL]

CASTOFF is the command; OPERATIONS how many uploads and activations have to be acknowledged. After each
kill the server is started again, and when nobody asks for anything it must hold that

- every acknowledged release is there, and its package has the bytes that were sent;
- what is current is what the last acknowledged activation said, or one that was under way;
- exactly one release is current.

Meanwhile a reader asks all the time what is current: once there is something, there always is.
Exits with 1, and says what was lost, when something was.
"""

import argparse
import base64
import hashlib
import http.client
import io
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zipfile

APP = "org.castoff.torture"
CLIENTS = 8
# So many operations lie between two kills, on average.
BETWEEN = 40


class Gone(Exception):
    """The server did not answer: what was asked for has happened, or not."""


class Server:
    """A server that is started again on the same port."""

    def __init__(self, castoff, folder, database):
        self.command = [castoff, "serve", "--config", os.path.join(folder, "serve.toml")]
        lines = [f'data = "{folder}/data"', "request_log = false"]
        if database:
            lines.append(f'database = "{database}"')
        with open(os.path.join(folder, "serve.toml"), "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
        self.log = open(os.path.join(folder, "log"), "w+", encoding="utf-8")
        self.port = 0
        self.process = None
        self.token = subprocess.run(
            self.command + ["token", "add", f"torture{os.getpid()}", "--role", "admin"],
            check=True, capture_output=True, text=True,
        ).stdout.strip()

    def start(self):
        address = f"127.0.0.1:{self.port}"
        self.process = subprocess.Popen(
            self.command + ["--listen", address], stderr=subprocess.PIPE, text=True
        )
        for line in self.process.stderr:
            self.log.write(line)
            if line.startswith("Listening on "):
                self.port = int(line.rsplit(":", 1)[1])
                break
        else:
            sys.exit("the server did not start; see its log:\n" + self.words())
        threading.Thread(target=self.drain, args=(self.process.stderr,), daemon=True).start()

    def drain(self, stream):
        for line in stream:
            self.log.write(line)

    def words(self):
        self.log.flush()
        self.log.seek(0)
        return self.log.read()[-4000:]

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def ask(self, method, path, body=None, headers=None):
        """Status, headers and body of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            headers = {"Authorization": f"Bearer {self.token}", **(headers or {})}
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise Gone(str(error)) from error
        finally:
            connection.close()


def package(version, seed):
    """A package of a few files, some of which compress badly."""
    chance = random.Random(seed)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("run.sh", f"echo {version}\n")
        for number in range(chance.randrange(1, 6)):
            archive.writestr(f"data/{number}.bin", chance.randbytes(chance.randrange(1, 60_000)))
    return buffer.getvalue()


class Torture:
    def __init__(self, server, operations, seed):
        self.server = server
        self.operations = operations
        self.seed = seed
        self.lock = threading.Lock()
        self.done = 0
        self.next = 0
        # Versions whose release was acknowledged, with the digest of the package.
        self.releases = {}
        # (begun, ended, version, acknowledged)
        self.activations = []
        self.uploads = 0
        self.kills = 0
        self.faults = []
        self.stop = False
        # Held by whoever asks for something; the killer takes it to look at a server at rest.
        self.rest = threading.Condition(self.lock)
        self.busy = 0
        self.pause = False

    def fault(self, text):
        with self.lock:
            self.faults.append(text)
        print("LOST:", text, flush=True)

    def upload(self, chance):
        with self.lock:
            self.next += 1
            version = f"1.{self.next}.0"
        content = package(version, f"{self.seed}-{version}")
        digest = hashlib.sha256(content).hexdigest()
        name = f"app-{version}.zip"
        metadata = f"filename {base64.b64encode(name.encode()).decode()}"
        base = f"/api/v1/apps/{APP}"
        status, headers, body = self.server.ask(
            "POST", f"{base}/uploads",
            headers={"Upload-Length": str(len(content)), "Upload-Metadata": metadata},
        )
        if status != 201:
            return self.fault(f"an upload began with {status}: {body!r}")
        location, offset = headers["Location"], 0
        while offset < len(content):
            piece = content[offset:offset + chance.randrange(1, 100_000)]
            status, headers, body = self.server.ask(
                "PATCH", location, piece,
                {"Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"},
            )
            if status != 204:
                return self.fault(f"an upload went on with {status}: {body!r}")
            offset += len(piece)
        wish = {"version": version, "upload": location.rsplit("/", 1)[1]}
        status, _, body = self.server.ask("POST", f"{base}/releases", json.dumps(wish))
        if status != 201:
            return self.fault(f"{version} was answered with {status}: {body!r}")
        with self.lock:
            self.releases[version] = digest
            self.uploads += 1
            self.done += 1

    def activate(self, chance):
        with self.lock:
            known = list(self.releases)
        if not known:
            return
        version = chance.choice(known)
        begun = time.monotonic()
        acknowledged = False
        try:
            status, _, body = self.server.ask(
                "POST", f"/api/v1/apps/{APP}/channels/stable/activate", json.dumps({"version": version})
            )
            acknowledged = status == 200
            if not acknowledged:
                self.fault(f"the activation of {version} was answered with {status}: {body!r}")
        finally:
            with self.lock:
                self.activations.append((begun, time.monotonic(), version, acknowledged))
                self.done += acknowledged

    def client(self, number):
        chance = random.Random(f"{self.seed}-{number}")
        while not self.stop:
            with self.rest:
                while self.pause and not self.stop:
                    self.rest.wait()
                if self.stop:
                    return
                self.busy += 1
            try:
                self.upload(chance) if chance.random() < 0.5 else self.activate(chance)
            except Gone:
                time.sleep(0.05)
            finally:
                with self.rest:
                    self.busy -= 1
                    self.rest.notify_all()

    def reader(self):
        """Something is current, always."""
        while not self.stop:
            with self.lock:
                expected = any(entry[3] for entry in self.activations)
            try:
                status, _, body = self.server.ask("GET", f"/apps/{APP}/check")
            except Gone:
                time.sleep(0.02)
                continue
            if expected and status != 200:
                self.fault(f"nothing was current: {status} {body!r}")
            time.sleep(0.005)

    def at_rest(self):
        """What must hold when nobody asks for anything."""
        status, _, body = self.server.ask("GET", f"/api/v1/apps/{APP}/releases")
        if status != 200:
            return self.fault(f"the releases were answered with {status}: {body!r}")
        answer = json.loads(body)
        there = {release["version"]: release for release in answer["releases"]}
        with self.lock:
            releases, activations = dict(self.releases), list(self.activations)
        for version, digest in releases.items():
            release = there.get(version)
            if release is None:
                self.fault(f"{version} was acknowledged and is not there")
                continue
            found = release["packages"][0]
            if found["sha256"] != digest:
                self.fault(f"{version} has another digest")
        for version in random.Random(self.kills).sample(sorted(releases), min(5, len(releases))):
            status, _, body = self.server.ask("GET", there[version]["packages"][0]["url"])
            if status != 200 or hashlib.sha256(body).hexdigest() != releases[version]:
                self.fault(f"the package of {version} is not what was sent: {status}")
        current = [release["version"] for release in answer["releases"] if release["active"]]
        acknowledged = [entry for entry in activations if entry[3]]
        if not acknowledged:
            return
        if len(current) != 1:
            return self.fault(f"{len(current)} releases are current: {current}")
        last = max(entry[0] for entry in acknowledged)
        possible = {entry[2] for entry in activations if entry[1] >= last}
        if current[0] not in possible:
            self.fault(f"{current[0]} is current, and not one of {sorted(possible)}")

    def quiet(self):
        with self.rest:
            self.pause = True
            while self.busy:
                self.rest.wait()
        try:
            self.at_rest()
        finally:
            with self.rest:
                self.pause = False
                self.rest.notify_all()

    def run(self):
        self.server.start()
        status, _, body = self.server.ask("POST", "/api/v1/apps", json.dumps({"key": APP}))
        if status not in (201, 409):
            sys.exit(f"the app was answered with {status}: {body!r}")
        threads = [threading.Thread(target=self.client, args=(number,)) for number in range(CLIENTS)]
        threads.append(threading.Thread(target=self.reader))
        for thread in threads:
            thread.start()
        chance = random.Random(self.seed)
        while self.done < self.operations and not self.faults:
            goal = self.done + chance.randrange(1, 2 * BETWEEN)
            while self.done < min(goal, self.operations) and not self.faults:
                time.sleep(chance.random() * 0.02)
            self.server.kill()
            self.kills += 1
            self.server.start()
            self.quiet()
        with self.rest:
            self.stop = True
            self.rest.notify_all()
        for thread in threads:
            thread.join()
        self.server.kill()
        activations = sum(entry[3] for entry in self.activations)
        print(
            f"{self.uploads} uploads and {activations} activations acknowledged, {self.kills} kills, "
            f"seed {self.seed}: {'nothing was lost' if not self.faults else 'FAILED'}"
        )
        return not self.faults


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("castoff")
    parser.add_argument("operations", type=int)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--database")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = Server(os.path.abspath(arguments.castoff), folder, arguments.database)
        torture = Torture(server, arguments.operations, arguments.seed)
        sys.exit(0 if torture.run() else 1)


if __name__ == "__main__":
    main()
