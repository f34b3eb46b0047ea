#!/usr/bin/env python3
"""Compares an installed client folder with a tree that unzip or tar made, bit by bit.

    compare-trees.py CLIENT EXPECTED PACKAGE...

CLIENT's own files (.castoff, .backup, local_version.json, run.sh) are left out. PACKAGE: the zips or
tar.gz that were laid one over the other, oldest first; they say which modes are right: a file is made
as 0755 where the package that brought it first says x, as 0644 where it does not, and keeps its mode after
that. Prints "FILES BYTES" and ends with 0 when the trees are the same; otherwise prints what
differs to stderr and ends with 1.
"""

import filecmp
import os
import stat
import sys
import tarfile
import zipfile

OWN = {".castoff", ".backup", "local_version.json", "run.sh"}
LIST = "castoff-files.json"


def tree(root, leave_out):
    """Path -> status of everything below root but folders; and the folders."""
    files, folders = {}, set()
    for folder, inner, names in os.walk(root):
        relative = os.path.relpath(folder, root)
        if relative == ".":
            inner[:] = [name for name in inner if name not in leave_out]
            names = [name for name in names if name not in leave_out]
        for name in inner + names:
            path = os.path.normpath(os.path.join(relative, name))
            status = os.lstat(os.path.join(folder, name))
            if stat.S_ISDIR(status.st_mode):
                folders.add(path)
            else:
                files[path] = status
    return files, folders


def entries(package):
    """Name and mode of everything in a package."""
    if package.endswith(".zip"):
        with zipfile.ZipFile(package) as archive:
            return [(info.filename, info.external_attr >> 16) for info in archive.infolist()]
    with tarfile.open(package) as archive:
        return [(info.name, info.mode) for info in archive.getmembers()]


def modes(packages):
    wanted = {}
    for package in packages:
        for name, mode in entries(package):
            wanted.setdefault(name, 0o755 if mode & 0o111 else 0o644)
    return wanted


def main(client, expected, *packages):
    ours, our_folders = tree(client, OWN)
    theirs, their_folders = tree(expected, {LIST})
    wanted = modes(packages)
    differences = []
    for path in sorted(theirs.keys() - ours.keys()):
        differences.append(f"{path}: missing")
    for path in sorted(ours.keys() - theirs.keys()):
        differences.append(f"{path}: not in the package")
    for path in sorted(their_folders - our_folders):
        differences.append(f"{path}/: missing")
    for path in sorted(our_folders - their_folders):
        differences.append(f"{path}/: not in the package")
    for path in sorted(ours.keys() & theirs.keys()):
        one, other = ours[path], theirs[path]
        if stat.S_IFMT(one.st_mode) != stat.S_IFMT(other.st_mode):
            differences.append(f"{path}: another kind of file")
        elif stat.S_ISLNK(one.st_mode):
            if os.readlink(os.path.join(client, path)) != os.readlink(os.path.join(expected, path)):
                differences.append(f"{path}: points elsewhere")
        elif not filecmp.cmp(os.path.join(client, path), os.path.join(expected, path), False):
            differences.append(f"{path}: other bytes")
        elif stat.S_IMODE(one.st_mode) != wanted[path]:
            mode = stat.S_IMODE(one.st_mode)
            differences.append(f"{path}: mode {mode:o}, expected {wanted[path]:o}")
    for line in differences[:20]:
        print(f"    {line}", file=sys.stderr)
    if len(differences) > 20:
        print(f"    and {len(differences) - 20} more", file=sys.stderr)
    if not theirs:
        sys.exit("    nothing was unpacked: there is nothing to compare with")
    print(len(ours), sum(status.st_size for status in ours.values()))
    return 1 if differences else 0


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
