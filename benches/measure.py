#!/usr/bin/env python3
"""Measures the launcher against public tools, in one interleaved run.

    measure.py LAUNCHER [--rounds N] [--starts N] [--packages DIR] [--work DIR]
               [--flavour plain|listed] [--big] [--server auto|nginx|python] [--json FILE]

Called by benches/measure.sh, which builds the launcher and the packages first. What is compared:

  install  first installation         with  curl -o, sha256sum -c, unzip -q; the same and sync
  update   update, 5 % changed        with  the same for version 2, into a new folder
  start    start, nothing new         with  starting the entry point itself; asking the same
                                            question with curl, then starting it
  big      peak memory, 1 GB package  with  curl, sha256sum, unzip

Every round does each once, in an order that turns from round to round; the launcher's and the
tools' files lie on one file system, synced before each installation and update. A ratio is the
median of the launcher's figures over the median of the other's. "To the entry point" is the time
until the started program takes its first look at the clock: the entry point is a copy of date(1),
told by its argument to print nanoseconds.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import serve  # noqa: E402

NANOSECONDS = "+%s%N"


class Fault(Exception):
    pass


def warm_memory():
    """Touches more memory than a run needs, and gives it back. A virtual machine returns what has
    been free for seconds to its host, and gets it again page by page: that would be most of what
    is measured, and hits whoever runs after a pause."""
    touch = "b = bytearray(600 << 20); b[::4096] = b'x' * len(b[::4096])"
    subprocess.run([sys.executable, "-c", touch], check=True)


class Bench:
    def __init__(self, options):
        self.options = options
        self.packages = os.path.abspath(options.packages)
        self.work = tempfile.mkdtemp(prefix="measure-", dir=options.work)
        self.figures = {}
        self.order = 0
        home = os.path.join(self.work, "home")
        os.mkdir(home)
        # Nothing of the person who measures: no proxy, no configuration, no log among theirs.
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": home,
            "LANG": "C.UTF-8",
            "NO_PROXY": "127.0.0.1",
        }

    def url(self, path):
        return f"http://127.0.0.1:{self.port}{path}"

    def note(self, group, name, who, value):
        self.figures.setdefault((group, name), {}).setdefault(who, []).append(value)

    # What is measured.

    def run(self, command, folder, group, who, entry=False):
        """Runs a command; notes its wall clock, its and its children's CPU time, and, when it
        ends in the entry point, the time until that ran."""
        if group != "start":
            os.sync()
            warm_memory()
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            begun_clock, begun = time.time_ns(), time.monotonic_ns()
            process = subprocess.Popen(
                command, cwd=folder, env=self.environment,
                stdin=subprocess.DEVNULL, stdout=out, stderr=err,
            )
            _, status, usage = os.wait4(process.pid, 0)
            wall = time.monotonic_ns() - begun
            process.returncode = os.waitstatus_to_exitcode(status)
            out.seek(0)
            err.seek(0)
            printed, complaint = out.read().decode(), err.read().decode(errors="replace")
        if process.returncode != 0:
            raise Fault(f"{command} ended with {process.returncode}:\n{complaint}")
        self.note(group, "wall", who, wall / 1e6)
        # A start takes milliseconds, and CPU time is counted in ticks about as long.
        if group != "start":
            self.note(group, "user CPU", who, usage.ru_utime * 1e3)
            self.note(group, "system CPU", who, usage.ru_stime * 1e3)
        if entry:
            try:
                first = int(printed.split()[-1])
            except (IndexError, ValueError):
                said = f"{command} did not start the entry point; it said:\n{complaint}"
                raise Fault(said) from None
            self.note(group, "to the entry point", who, (first - begun_clock) / 1e6)

    def peak(self, command, folder, group, who):
        """The peak memory of a command and its children, in MB. Through time(1), whose own memory
        is small: a child's peak begins with what its parent had when it was made."""
        report = os.path.join(self.work, "peak")
        timed = ["/usr/bin/time", "-o", report, "-f", "%M", *command]
        done = subprocess.run(
            timed, cwd=folder, env=self.environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False,
        )
        if done.returncode != 0:
            raise Fault(f"{command} ended with {done.returncode}:\n{done.stderr.decode()}")
        with open(report, encoding="utf-8") as file:
            self.note(group, "peak memory", who, int(file.read().split()[-1]) * 1024 / 1e6)

    # The parties.

    def place(self, name):
        """A folder with a launcher and its configuration, and nothing installed."""
        folder = os.path.join(self.work, name)
        os.mkdir(folder)
        shutil.copy2(self.options.launcher, os.path.join(folder, "app-launcher"))
        with open(os.path.join(folder, "launcher.toml"), "w", encoding="utf-8") as file:
            file.write(
                'app = "com.example.bench"\n'
                'name = "Bench"\n'
                'client_dir = "client"\n'
                'entry_point = "app"\n'
                f"log_dir = {json.dumps(os.path.join(folder, 'log'))}\n"
                "\n[source]\n"
                f'url = "{self.url(serve.CHECK)}"\n'
            )
        return folder

    def launcher(self, folder):
        return [os.path.join(folder, "app-launcher"), NANOSECONDS]

    def activate(self, package, version):
        serve.activate(self.packages, package, version)

    def expect(self, folder, version, package):
        """That the update happened: a figure for one that did not is worthless."""
        client = os.path.join(folder, "client")
        with open(os.path.join(client, "local_version.json"), encoding="utf-8") as file:
            found = json.load(file)["version"]
        if found != version:
            raise Fault(f"{folder} has version {found}, expected {version}")
        with zipfile.ZipFile(os.path.join(self.packages, package)) as archive:
            for info in archive.infolist():
                if info.is_dir() or info.filename == "castoff-files.json":
                    continue
                path = os.path.join(client, info.filename)
                if os.path.getsize(path) != info.file_size:
                    raise Fault(f"{path} is not version {version}'s")

    def tools(self, package, sync):
        """The public tools' way: fetch, check, unpack."""
        path = os.path.join(self.packages, package)
        script = (
            f"curl -sSf -o package.zip {self.url('/media/' + package)} && "
            f"echo '{serve.digest(path)}  package.zip' | sha256sum -c --quiet - && "
            "unzip -q package.zip -d out"
        )
        return ["sh", "-c", script + (" && sync -f out" if sync else "")]

    def by_tools(self, package, group, sync, measure):
        # Nothing is removed before the end: ext4 looks long for a free inode where many were freed
        # lately, and whoever comes next would pay for it.
        folder = tempfile.mkdtemp(prefix="tools-", dir=self.work)
        measure(self.tools(package, sync), folder, group, "tools + sync" if sync else "tools")

    # The rounds.

    def turn(self, parties):
        """Each party once, another one first every time."""
        self.order += 1
        shift = self.order % len(parties)
        for party in parties[shift:] + parties[:shift]:
            party()

    def update_round(self, number):
        suffix = "-listed" if self.options.flavour == "listed" else ""
        first, second = f"v1{suffix}.zip", f"v2{suffix}.zip"
        folder = self.place(f"client-{number}")
        client = os.path.join(folder, "client")

        def parties(package, group):
            self.turn([
                lambda: self.run(self.launcher(folder), folder, group, "launcher", entry=True),
                lambda: self.by_tools(package, group, False, self.run),
                lambda: self.by_tools(package, group, True, self.run),
            ])

        self.activate(first, "1.0.0")
        parties(first, "install")
        self.expect(folder, "1.0.0", first)
        self.settle(folder)
        self.activate(second, "2.0.0")
        parties(second, "update")
        self.expect(folder, "2.0.0", second)
        self.settle(folder)
        self.starts(folder, client)
        if number == 0:
            self.peak(self.launcher(folder), folder, "start", "launcher")
            self.peak(["./app", NANOSECONDS], client, "start", "directly")

    def settle(self, folder):
        """Starts that pass the trial, so that nothing is left to do at the next one."""
        for _ in range(3):
            subprocess.run(
                self.launcher(folder), cwd=folder, env=self.environment, check=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )

    def starts(self, folder, client):
        ask = f"curl -sSf -o /dev/null {self.url(serve.CHECK)} && exec ./app {NANOSECONDS}"
        for _ in range(self.options.starts):
            self.turn([
                lambda: self.run(self.launcher(folder), folder, "start", "launcher", entry=True),
                lambda: self.run(["./app", NANOSECONDS], client, "start", "directly", entry=True),
                lambda: self.run(["sh", "-c", ask], client, "start", "curl", entry=True),
            ])

    def memory_round(self, group, package, version):
        folder = self.place(f"memory-{group}")
        self.activate(package, version)
        self.peak(self.launcher(folder), folder, group, "launcher")
        self.expect(folder, version, package)
        shutil.rmtree(folder)
        self.by_tools(package, group, False, self.peak)

    def measure(self):
        if self.options.server == "nginx" or (self.options.server == "auto" and serve.has_nginx()):
            self.server = "nginx"
        else:
            self.server = "python"
        port_file = os.path.join(self.work, "port")
        here = os.path.dirname(os.path.abspath(__file__))
        command = [sys.executable, os.path.join(here, "serve.py"), self.packages, port_file]
        server = subprocess.Popen(command + (["--nginx"] if self.server == "nginx" else []))
        try:
            while not os.path.exists(port_file):
                if server.poll() is not None:
                    raise Fault("the server did not start")
                time.sleep(0.01)
            with open(port_file, encoding="utf-8") as file:
                self.port = int(file.read())
            for number in range(self.options.rounds):
                print(f"round {number + 1} of {self.options.rounds}", file=sys.stderr)
                self.update_round(number)
            suffix = "-listed" if self.options.flavour == "listed" else ""
            self.memory_round("install", f"v1{suffix}.zip", "1.0.0")
            if self.options.big:
                print("the 1 GB package", file=sys.stderr)
                self.memory_round("big", "big.zip", "1.0.0")
        finally:
            server.terminate()
            server.wait()
            if not self.options.keep:
                shutil.rmtree(self.work)


GROUPS = {
    "start": "start, nothing new",
    "install": "first installation",
    "update": "update, 5 % changed",
    "big": "installation, 1 GB",
}
NAMES = {
    "directly": "the entry point itself",
    "curl": "`curl` of the check, then the entry point",
    "tools": "`curl`, `sha256sum`, `unzip`",
    "tools + sync": "the same and `sync`",
}


def spread(values, unit):
    digits = 2 if statistics.median(values) < 10 else 1 if statistics.median(values) < 100 else 0
    text = f"{statistics.median(values):,.{digits}f} {unit}"
    if len(values) > 1:
        text += f" ({min(values):,.{digits}f}–{max(values):,.{digits}f})"
    return text


def table(bench):
    lines = [
        "| what | figure | launcher | compared with | its figure | ratio |",
        "|---|---|---|---|---|---|",
    ]
    for group, title in GROUPS.items():
        for (in_group, figure), parties in bench.figures.items():
            if in_group != group or "launcher" not in parties:
                continue
            unit = "MB" if figure == "peak memory" else "ms"
            own = parties["launcher"]
            for who, values in sorted(parties.items()):
                if who == "launcher":
                    continue
                other = statistics.median(values)
                ratio = f"{statistics.median(own) / other:.2f}" if other > 0 else "–"
                lines.append(
                    f"| {title} | {figure} | {spread(own, unit)} "
                    f"| {NAMES[who]} | {spread(values, unit)} | **{ratio}** |"
                )
            if len(parties) == 1:
                lines.append(f"| {title} | {figure} | {spread(own, unit)} | – | – | – |")
    return "\n".join(lines)


def circumstances(bench):
    options = bench.options
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        models = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    kind = subprocess.run(
        ["stat", "-f", "-c", "%T", options.work], capture_output=True, text=True, check=False
    ).stdout.strip()
    size = os.path.getsize(options.launcher)
    starts = bench.figures[("start", "wall")]["launcher"]
    extra = statistics.median(bench.figures[("start", "to the entry point")]["launcher"]) - (
        statistics.median(bench.figures[("start", "to the entry point")]["directly"])
    )
    return (
        f"{options.rounds} rounds, {len(starts)} starts, package `{options.flavour}`, "
        f"server {bench.server}. {models[0] if models else platform.machine()}, "
        f"{os.cpu_count()} processors, Linux {platform.release()}, file system {kind}. "
        f"Launcher: {size:,} bytes. "
        f"When nothing is new, the launcher adds {extra:.2f} ms (medians).\n"
        "Median (least–greatest); a ratio below 1 means that the launcher takes less."
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("launcher", type=os.path.abspath)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--starts", type=int, default=20, help="starts a round")
    parser.add_argument("--packages", default="target/bench-packages")
    parser.add_argument(
        "--work", type=os.path.abspath, default=os.path.abspath("target"),
        help="where everything is installed to",
    )
    parser.add_argument("--flavour", choices=["plain", "listed"], default="listed")
    parser.add_argument("--big", action="store_true")
    parser.add_argument("--server", choices=["auto", "nginx", "python"], default="auto")
    parser.add_argument("--json", help="every single figure goes here")
    parser.add_argument("--keep", action="store_true", help="leave the work folder")
    options = parser.parse_args()
    bench = Bench(options)
    try:
        bench.measure()
    except Fault as fault:
        sys.exit(f"measure.py: {fault}")
    print(table(bench))
    print()
    print(circumstances(bench))
    if options.json:
        figures = {f"{group}: {name}": parties for (group, name), parties in bench.figures.items()}
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(figures, file, indent=1)


if __name__ == "__main__":
    main()
