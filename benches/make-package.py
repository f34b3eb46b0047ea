#!/usr/bin/env python3
"""Makes the synthetic package that BENCHMARKS.md measures with.

    make-package.py OUT [--big] [--entry FILE]

It has the shape of a Nuitka-built desktop client: 3,000 files, 148 MB, about 47 MB as a zip; one
large binary, twenty libraries, hundreds of data files and thousands of small ones. Version 2
differs in 5 % of the files, evenly over all sizes. OUT then holds

    v1.zip v2.zip                 as the Python packager makes them: every mode is 0600
    v1-listed.zip v2-listed.zip   the same with modes and a file list
    big.zip                       with --big: a package of 1 GB

Everything is made from a seed and is the same on every machine, but for the file `app`: it is the
entry point, a copy of FILE (default: /bin/date, which says when it was started).
"""

import argparse
import hashlib
import os
import random
import sys
import zipfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import filelist  # noqa: E402

# (folder, suffix, how many, size in bytes): 3,000 files with `app`, 148 MB.
# The suffixes matter: a backup links what apps never write in place and copies the rest. One file in
# twenty is of a kind that is copied; in the pyside6-essentials wheel it is one in fourteen.
SHAPE = [
    ("", ".so", 1, 32_000_000),
    ("lib/", ".so", 20, 2_500_000),
    ("assets/", ".png", 379, 100_000),
    ("pkg/", ".py", 2_449, 10_850),
    ("pkg/data/", ".json", 150, 10_850),
]
# The parts of each file that do not compress, and that compress to nothing (tables, padding). The
# rest is text. Together they make a zip of 32 %.
NOISE = 0.06
PADDING = 0.27
CHANGED = 20  # one file in so many


def word_pool(rng, size):
    """Text of made-up words, which deflates as ordinary text and code do."""
    letters = "etaoinshrdlucmfwypvbgkqjxz"
    words = [
        "".join(rng.choices(letters, weights=range(26, 0, -1), k=rng.randint(2, 9)))
        for _ in range(3_000)
    ]
    weights = [1 / (rank + 1) for rank in range(len(words))]
    text, length = [], 0
    while length < size:
        part = " ".join(rng.choices(words, weights=weights, k=10_000)) + "\n"
        text.append(part)
        length += len(part)
    return "".join(text).encode()[:size]


def content(pool, seed, size):
    """A file's bytes: runs of text, noise and padding in turn."""
    rng = random.Random(seed)
    parts, left = [], size
    while left > 0:
        run = min(left, rng.randint(2_000, 16_000))
        noise, padding = int(run * NOISE), int(run * PADDING)
        text = run - noise - padding
        start = rng.randrange(len(pool) - text)
        parts += [pool[start : start + text], rng.randbytes(noise), bytes(padding)]
        left -= run
    return b"".join(parts)


def tree(pool, version, app):
    """Path -> (bytes, executable) of a version."""
    files = {"app": (app, True)}
    number = 0
    for folder, suffix, count, size in SHAPE:
        for index in range(count):
            changed = version == 2 and number % CHANGED == CHANGED - 1
            # As packages are: no folder with thousands of files.
            place = f"{folder}d{index % 37:02}/" if count > 100 else folder
            path = f"{place}f{index:04}{suffix}"
            # A changed file has another size, too, as it does in life.
            length = size + 17 if changed else size
            data = content(pool, f"{path} {2 if changed else 1}", length)
            files[path] = (data, suffix == ".so")
            number += 1
    return files


def write_zip(path, files, version=None):
    """A plain zip; with `version`, one with modes and a file list."""
    temporary = path + ".new"
    with zipfile.ZipFile(temporary, "w", compresslevel=6) as out:
        if version:
            listed = {
                name: (len(data), hashlib.sha256(data).hexdigest(), executable)
                for name, (data, executable) in files.items()
            }
            text = filelist.describe(version, listed)
            out.writestr(filelist.entry(filelist.NAME, 0o100644), text)
        for name, (data, executable) in files.items():
            mode = (0o100755 if executable else 0o100644) if version else 0o600
            out.writestr(filelist.entry(name, mode), data)
    os.replace(temporary, path)


def write_big(path, pool, app):
    """A package of 1 GB in nine files: the largest is larger than the memory budget by far."""
    temporary = path + ".new"
    rng = random.Random("big")
    with zipfile.ZipFile(temporary, "w", compresslevel=1) as out:
        out.writestr(filelist.entry("app", 0o100755), app)
        for index in range(8):
            with out.open(filelist.entry(f"part{index}.bin", 0o100644), "w") as file:
                for _ in range(118):
                    file.write(rng.randbytes(1_000_000))
                    start = rng.randrange(len(pool) - 200_000)
                    file.write(pool[start : start + 200_000])
    os.replace(temporary, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out")
    parser.add_argument("--big", action="store_true", help="big.zip, 1 GB, as well")
    parser.add_argument("--entry", default="/bin/date", help="the entry point to pack as `app`")
    options = parser.parse_args()
    os.makedirs(options.out, exist_ok=True)
    with open(options.entry, "rb") as file:
        app = file.read()
    pool = word_pool(random.Random("castoff"), 4_000_000)
    versions = {number: tree(pool, number, app) for number in (1, 2)}
    for number, files in versions.items():
        plain = os.path.join(options.out, f"v{number}.zip")
        write_zip(plain, files)
        write_zip(os.path.join(options.out, f"v{number}-listed.zip"), files, f"{number}.0.0")
        size = sum(len(data) for data, _ in files.values())
        zipped = os.path.getsize(plain)
        print(f"v{number}: {len(files):,} files, {size / 1e6:.1f} MB, zip {zipped / 1e6:.1f} MB")
    changed = [p for p, (data, _) in versions[2].items() if versions[1][p][0] != data]
    size = sum(len(versions[2][path][0]) for path in changed)
    print(f"changed in v2: {len(changed)} files, {size / 1e6:.1f} MB")
    if options.big:
        path = os.path.join(options.out, "big.zip")
        write_big(path, pool, app)
        print(f"big: zip {os.path.getsize(path) / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
