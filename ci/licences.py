#!/usr/bin/env python3
"""Checks the licence of every dependency against deny.toml's list.

Stands in for `cargo deny check licenses` where cargo-deny is not installed. It reads what
`cargo metadata` says; it does not read licence texts, and it checks neither advisories nor bans.
"""

import json
import os
import re
import subprocess
import sys
import tomllib


def tokens(expression):
    # "MIT/Apache-2.0" is how "or" was written before SPDX expressions.
    return re.findall(r"[()]|[^\s()]+", expression.replace("/", " OR "))


def allows(expression, allowed):
    """Whether an SPDX expression can be met with allowed licences alone."""
    rest = tokens(expression)

    def either():
        result = both()
        while rest and rest[0] == "OR":
            rest.pop(0)
            # Both sides are read, whatever the first was.
            result = both() or result
        return result

    def both():
        result = one()
        while rest and rest[0] == "AND":
            rest.pop(0)
            result = one() and result
        return result

    def one():
        token = rest.pop(0)
        if token == "(":
            result = either()
            if rest.pop(0) != ")":
                raise ValueError(expression)
            return result
        if rest and rest[0] == "WITH":
            rest.pop(0)
            token += " WITH " + rest.pop(0)
        return token in allowed

    result = either()
    if rest:
        raise ValueError(expression)
    return result


def main():
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    with open(os.path.join(root, "deny.toml"), "rb") as file:
        licences = tomllib.load(file)["licenses"]
    allowed = set(licences["allow"])
    exceptions = {entry["crate"]: set(entry["allow"]) for entry in licences.get("exceptions", [])}
    command = ["cargo", "metadata", "--format-version", "1", "--locked"]
    answer = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, check=True).stdout
    metadata = json.loads(answer)
    refused = []
    for package in metadata["packages"]:
        name, version, licence = package["name"], package["version"], package["license"]
        try:
            fine = licence and allows(licence, allowed | exceptions.get(name, set()))
        except (ValueError, IndexError):
            fine = False
        if not fine:
            refused.append(f"{name} {version}: {licence or 'no licence is named'}")
    for line in refused:
        print(line, file=sys.stderr)
    count = len(metadata["packages"])
    print(f"{count} packages, {len(refused)} with a licence that is not allowed")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
