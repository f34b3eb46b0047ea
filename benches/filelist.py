#!/usr/bin/env python3
"""Adds a file list (castoff-files.json) to a zip that has none.

    filelist.py IN.zip VERSION OUT.zip

The entries of IN are copied with their modes; the list is written first, so that a reader finds
it early. Used by the benchmarks.
"""

import hashlib
import json
import os
import sys
import zipfile

NAME = "castoff-files.json"


def describe(version, files):
    """The list's text. `files`: path -> (size, SHA-256 in hex, executable)."""
    listed = {
        path: {"size": size, "sha256": sha256, "executable": executable}
        for path, (size, sha256, executable) in sorted(files.items())
    }
    whole = {"castoff": 1, "version": version, "whole": True, "fits": [], "files": listed}
    return json.dumps(whole, separators=(",", ":"), ensure_ascii=False).encode()


def entry(name, mode):
    """An entry with a fixed time, so that the same input gives the same zip."""
    info = zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0))
    info.compress_type = zipfile.ZIP_DEFLATED
    info.create_system = 3
    info.external_attr = mode << 16
    return info


def main(source, version, target):
    temporary = target + ".new"
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(temporary, "w") as new:
        files = {}
        for info in old.infolist():
            if not info.is_dir():
                data = old.read(info)
                executable = bool(info.external_attr >> 16 & 0o111)
                files[info.filename] = (len(data), hashlib.sha256(data).hexdigest(), executable)
        new.writestr(entry(NAME, 0o100644), describe(version, files))
        for info in old.infolist():
            if not info.is_dir():
                mode = info.external_attr >> 16
                new.writestr(entry(info.filename, mode), old.read(info))
    os.replace(temporary, target)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
