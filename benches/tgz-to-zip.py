#!/usr/bin/env python3
"""Turns an npm tar.gz into a zip as the Python packager makes them.

    tgz-to-zip.py IN.tgz OUT.zip

That packager calls `writestr` for each file: deflated, mode 0600 on every entry, no entries for
folders. Only the time is fixed, so that the same input gives the same zip.
"""

import os
import sys
import tarfile
import zipfile


def main(source, target):
    temporary = target + ".new"
    with tarfile.open(source, "r:gz") as tar, zipfile.ZipFile(temporary, "w") as out:
        for member in tar:
            if not member.isfile():
                continue
            # npm puts everything under one folder, "package/" as a rule.
            name = member.name.split("/", 1)[1]
            entry = zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o600 << 16
            out.writestr(entry, tar.extractfile(member).read())
    os.replace(temporary, target)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
