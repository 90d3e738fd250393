"""What others' code is in ours: is it known to be dangerous, may we ship it, and does it come from where it should?

cargo-deny judges licences, sources and versions by deny.toml. cargo-audit looks for known vulnerabilities in a copy of the RustSec database, whose
date is printed, for it is as old as that. syft lists all crates (CycloneDX). Each of them is also shown something that it must refuse.

Usage: supply_chain.py SBOM    the file to write the list to
       HOLDFAST_ADVISORIES     the database: a directory, or a tar of it. Without it, the copy in advisories/ is taken, which is as old as it says.
"""

import datetime
import json
import os
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import tomllib

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
KEPT = HERE / "advisories/advisory-db.tar.xz"
DENY, AUDIT, SYFT = (os.environ.get(f"HOLDFAST_{name}", default) for name, default in [("DENY", "cargo-deny"), ("AUDIT", "cargo-audit"), ("SYFT", "syft")])
# A crate with advisories of 2019 and 2021: RUSTSEC-2019-0009 and RUSTSEC-2021-0003.
PLANTED = 'version = 4\n[[package]]\nname = "smallvec"\nversion = "0.6.5"\nsource = "registry+https://github.com/rust-lang/crates.io-index"\n'


def run(*command, **more):
    return subprocess.run([str(part) for part in command], cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False, **more)


def output_of(*command):
    ran = run(*command)
    if ran.returncode != 0:
        raise SystemExit(f"supply chain: {command[0]}: exit code {ran.returncode}\n{ran.stderr[-2000:]}")
    return ran.stdout


def denied(config, metadata):
    """What cargo-deny finds, as lines."""
    ran = run(DENY, "--offline", "--config", config, "--metadata-path", metadata, "--format=json", "check", "licenses", "bans", "sources")
    found = [json.loads(line) for line in ran.stderr.splitlines() if line.startswith("{")]
    if not any(line["type"] == "summary" for line in found):
        raise SystemExit(f"supply chain: cargo-deny did not come to its end\n{ran.stderr[-2000:]}")
    errors = [line["fields"] for line in found if line["type"] == "diagnostic" and line["fields"]["severity"] == "error"]
    name = lambda error: "".join(f"{graph['Krate']['name']} {graph['Krate']['version']}" for graph in error.get("graphs", [])[:1])
    return [f"{name(error)}: {error['message']}" for error in errors]


def licences(work):
    metadata = work / "metadata.json"
    metadata.write_text(output_of("cargo", "metadata", "--locked", "--format-version=1", "--filter-platform=x86_64-unknown-linux-gnu"))
    findings = denied(HERE / "deny.toml", metadata)
    rules = (HERE / "deny.toml").read_text()
    for name, before, after in [("a licence that nobody allowed", ' "ISC",', ""), ("a source that nobody allowed", "[sources]\n", "[sources]\nallow-registry = []\n")]:
        if rules.count(before) != 1:
            yield f"the place of {name} is {rules.count(before)} times in deny.toml"
            continue
        broken = work / "deny.toml"
        broken.write_text(rules.replace(before, after))
        if not denied(broken, metadata):
            yield f"cargo-deny says nothing of {name}"
    yield from findings
    if not findings:
        print("supply chain: licences, sources and versions are as deny.toml allows")


def audited(database, lock):
    ran = run(AUDIT, "audit", "--no-fetch", "--stale", "--json", "--db", database, "--file", lock)
    try:
        return json.loads(ran.stdout)
    except json.JSONDecodeError:
        raise SystemExit(f"supply chain: cargo-audit did not come to its end\n{ran.stderr[-2000:]}") from None


def date_of(database):
    """When it was copied, or when its newest advisory was written: whichever its files say."""
    times = [path.stat().st_mtime for path in database.rglob("RUSTSEC-*.md")]
    if not times:
        raise SystemExit(f"supply chain: {database} has no advisories")
    return datetime.datetime.fromtimestamp(max(times), datetime.UTC).date()


def advisories(work):
    named = os.environ.get("HOLDFAST_ADVISORIES")
    place = pathlib.Path(named) if named else KEPT
    if not place.exists():
        yield f"there is no copy of the RustSec database in {place}"
        return
    database = place
    if place.is_file():
        database = work / "advisories"
        with tarfile.open(place) as archive:
            archive.extractall(database, filter="data")
    planted = work / "Cargo.lock"
    planted.write_text(PLANTED)
    if not audited(database, planted)["vulnerabilities"]["found"]:
        yield "cargo-audit says nothing of smallvec 0.6.5"
    said = audited(database, ROOT / "Cargo.lock")
    for found in said["vulnerabilities"]["list"]:
        yield f"{found['advisory']['id']}: {found['package']['name']} {found['package']['version']}: {found['advisory']['title']}"
    for kind, found in said["warnings"].items():
        for warning in found:
            yield f"{kind}: {warning['package']['name']} {warning['package']['version']}: {(warning['advisory'] or {}).get('id')}"
    count, crates = said["database"]["advisory-count"], said["lockfile"]["dependency-count"]
    print(f"supply chain: {crates} crates against {count} advisories, in a database of {date_of(database)}")


def bill_of_materials(file):
    output_of(SYFT, "scan", "file:Cargo.lock", "--quiet", f"--output=cyclonedx-json={file}")
    bill = json.loads(file.read_text())
    listed = {(part["name"], part["version"]) for part in bill["components"] if part["type"] == "library"}
    locked = {(package["name"], package["version"]) for package in tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]}
    for name, version in sorted(locked - listed):
        yield f"{file.name} lacks {name} {version}"
    print(f"supply chain: CycloneDX {bill['specVersion']} of {len(listed)} crates in {file}")


def main():
    file = pathlib.Path(sys.argv[1]).resolve()
    file.parent.mkdir(parents=True, exist_ok=True)
    os.environ["SYFT_CHECK_FOR_APP_UPDATE"] = "false"
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        findings = [*licences(work), *advisories(work), *bill_of_materials(file)]
    for finding in findings:
        print(f"supply chain: {finding}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
