#!/usr/bin/env python3
"""Compares tests/data/versions.tsv with `packaging.version`, the reference for PEP 440.

The engine's unit tests check the engine against the table; this checks the table against the
reference. Needs `pip install packaging`. Exits with 1 when a pair is wrong, and names the pairs
that it skipped because the reference cannot read one of their versions.
"""

import sys
from pathlib import Path

from packaging.version import InvalidVersion, Version

TABLE = Path(__file__).parent.parent / "tests" / "data" / "versions.tsv"


def order(left: Version, right: Version) -> str:
    return "<" if left < right else "=" if left == right else ">"


def main() -> int:
    checked, skipped, wrong = 0, [], []
    for number, line in enumerate(TABLE.read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith("#"):
            continue
        left, sign, right = line.split("\t")
        try:
            expected = order(Version(left), Version(right))
        except InvalidVersion as error:
            skipped.append(f"line {number}: {left} {sign} {right} ({error})")
            continue
        checked += 1
        if sign != expected:
            wrong.append(f"line {number}: {left} {sign} {right}, but packaging says {expected}")
    for line in skipped:
        print(f"skipped: {line}")
    for line in wrong:
        print(f"WRONG: {line}")
    print(f"{checked} pairs checked, {len(skipped)} skipped, {len(wrong)} wrong")
    return 1 if wrong or not checked else 0


if __name__ == "__main__":
    sys.exit(main())
