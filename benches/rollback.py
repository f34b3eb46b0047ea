#!/usr/bin/env python3
"""Measures `--castoff rollback` in both layouts against `cp -a`, in interleaved rounds.

    rollback.py LAUNCHER FIRST.zip SECOND.zip [--rounds N] [--work DIR]

FIRST and SECOND are two versions with file lists, as benches/make-package.py makes them. Every
round installs the first, updates to the second, and goes back, in either layout. Each way back is
timed whole (wall clock) and compared with what `--castoff version` takes, which is the same launcher
without the work; and with `cp -a` of what is kept of the first version into an empty folder, alone
and with `sync -f`. Printed are medians, least and greatest.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import serve  # noqa: E402

LAYOUTS = ["in-place", "snapshot"]


def place(work, name, launcher, layout, port):
    """A folder with a launcher, and nothing installed."""
    folder = os.path.join(work, name)
    os.mkdir(folder)
    shutil.copy2(launcher, os.path.join(folder, "app-launcher"))
    with open(os.path.join(folder, "launcher.toml"), "w", encoding="utf-8") as file:
        file.write(
            'app = "com.example.bench"\nname = "Bench"\nclient_dir = "client"\n'
            f'entry_point = "app"\nlayout = "{layout}"\nlog_dir = "log"\n'
            f'\n[source]\nurl = "http://127.0.0.1:{port}{serve.CHECK}"\n'
        )
    return folder


def run(command, folder):
    """Milliseconds of wall clock; what is not written yet is written first."""
    os.sync()
    begun = time.monotonic_ns()
    done = subprocess.run(
        command, cwd=folder, env={"PATH": os.environ["PATH"], "HOME": folder},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )
    wall = (time.monotonic_ns() - begun) / 1e6
    if done.returncode != 0:
        sys.exit(f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return wall


def measure(options, work, port):
    figures = {}

    def timed(what, command, folder):
        figures.setdefault(what, []).append(run(command, folder))

    packages = os.path.dirname(os.path.abspath(options.first))
    for number in range(options.rounds):
        turned = LAYOUTS[number % 2 :] + LAYOUTS[: number % 2]
        for layout in turned:
            folder = place(work, f"{layout}-{number}", options.launcher, layout, port)
            launcher = os.path.join(folder, "app-launcher")
            for package, version in [(options.first, "1.0.0"), (options.second, "2.0.0")]:
                serve.activate(packages, os.path.basename(package), version)
                run([launcher], folder)
            client = os.path.join(folder, "client")
            kept = "versions/v1.0.0" if layout == "snapshot" else ".backup/1.0.0"
            for what, end in [("cp -a", ""), ("cp -a, sync", " && sync -f .")]:
                copy = ["sh", "-c", f'cp -a "$0/." .{end}', os.path.join(client, kept)]
                timed(f"{layout}: {what}", copy, tempfile.mkdtemp(dir=work))
            timed(f"{layout}: version", [launcher, "--castoff", "version"], folder)
            timed(f"{layout}: rollback", [launcher, "--castoff", "rollback", "1.0.0"], folder)
    return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("launcher", type=os.path.abspath)
    parser.add_argument("first")
    parser.add_argument("second")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--work", default="target", type=os.path.abspath)
    options = parser.parse_args()
    work = tempfile.mkdtemp(prefix="rollback-", dir=options.work)
    port_file = os.path.join(work, "port")
    here = os.path.dirname(os.path.abspath(__file__))
    packages = os.path.dirname(os.path.abspath(options.first))
    server = subprocess.Popen([sys.executable, os.path.join(here, "serve.py"), packages, port_file])
    try:
        while not os.path.exists(port_file):
            time.sleep(0.01)
        with open(port_file, encoding="utf-8") as file:
            figures = measure(options, work, int(file.read()))
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(work)
    for what, values in sorted(figures.items()):
        print(f"{what}: {statistics.median(values):.2f} ms ({min(values):.2f}–{max(values):.2f})")


if __name__ == "__main__":
    main()
