#!/usr/bin/env python3
"""Writes what is built into the program as a bill of materials: CycloneDX 1.6, JSON.

    deploy/sbom.py [TARGET] > auditferry.cdx.json

TARGET is a triple such as x86_64-unknown-linux-gnu; the machine's own when it is not told. Crates that only the tests use are
left out; those that only run during the build are in it, with the scope "excluded". The same Cargo.lock gives the same bytes.
"""

import json
import pathlib
import subprocess
import sys
import tomllib
import uuid

ROOT = pathlib.Path(__file__).resolve().parent.parent


def host():
    told = subprocess.run(["rustc", "-vV"], check=True, capture_output=True, text=True).stdout
    return next(line.removeprefix("host: ") for line in told.splitlines() if line.startswith("host: "))


def metadata(target):
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", target]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout)


def reachable(nodes, root, kinds):
    """The crates that the root needs by dependencies of these kinds."""
    found, left = set(), [root]
    while left:
        crate = left.pop()
        if crate in found:
            continue
        found.add(crate)
        left += [
            needed["pkg"]
            for needed in nodes[crate]["deps"]
            if any(kind["kind"] in kinds for kind in needed["dep_kinds"])
        ]
    return found


def purl(crate):
    return f"pkg:cargo/{crate['name']}@{crate['version']}"


def component(crate, checksums, built_in):
    told = {
        "type": "library",
        "bom-ref": purl(crate),
        "name": crate["name"],
        "version": crate["version"],
        "scope": "required" if built_in else "excluded",
        "purl": purl(crate),
    }
    if crate["license"]:
        # Some crates still write a slash for "or".
        either = [part.strip() for part in crate["license"].split("/")]
        told["licenses"] = [{"expression": " OR ".join(either)}]
    checksum = checksums.get((crate["name"], crate["version"]))
    if checksum:
        told["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    if crate["repository"]:
        told["externalReferences"] = [{"type": "vcs", "url": crate["repository"]}]
    return told


def main():
    target = sys.argv[1] if len(sys.argv) > 1 else host()
    told = metadata(target)
    crates = {crate["id"]: crate for crate in told["packages"]}
    nodes = {node["id"]: node for node in told["resolve"]["nodes"]}
    root = told["resolve"]["root"]
    built_in = reachable(nodes, root, {None})
    needed = reachable(nodes, root, {None, "build"})
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())
    checksums = {(crate["name"], crate["version"]): crate.get("checksum") for crate in lock["package"]}

    order = sorted(needed - {root}, key=lambda crate: purl(crates[crate]))
    edges = [
        {
            "ref": purl(crates[crate]),
            "dependsOn": sorted({purl(crates[to["pkg"]]) for to in nodes[crate]["deps"]} & {purl(crates[to]) for to in needed}),
        }
        for crate in [root, *order]
    ]
    program = crates[root]
    bom = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": purl(program),
                "name": program["name"],
                "version": program["version"],
                "licenses": [{"expression": program["license"]}],
                "purl": purl(program),
                "properties": [{"name": "target", "value": target}],
            },
        },
        "components": [component(crates[crate], checksums, crate in built_in) for crate in order],
        "dependencies": edges,
    }
    bom["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(bom, sort_keys=True))}"
    json.dump(bom, sys.stdout, indent=1, sort_keys=True)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
