"""What the linters of others say of the Dockerfile and the manifests: hadolint of the first, trivy of both. Neither asks anybody: trivy's checks are in it.

What they say of something that is meant to be as it is stands in MEANT, with the reason. check.py runs this.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

import yaml

# Only those of justw: others may know other rules.
TOOLS = {"hadolint": os.environ.get("HOLDFAST_HADOLINT"), "trivy": os.environ.get("HOLDFAST_TRIVY")}

# Rule, what it says, and why it is so.
MEANT = [
    ("KSV011", r"should set 'resources\.limits\.cpu'",
     "a limit would hold a worker up in the middle of a transaction, whose rows others wait for. What it requests is its share when there is too little"),
    ("AVD-KSV-01010", r"in key\(s\) or value\(s\) '\{\"HOLDFAST_PROCESS_DRAIN_MS\"\}'$",
     "milliseconds are no secret: any number of several digits is taken for one"),
    ("DS026", "HEALTHCHECK",
     "the image is of many programs, some of which end by themselves, and Kubernetes reads probes instead. There is no shell, and no program that asks"),
]


def run(work, command):
    """Without settings, cache or ignored rules of whoever runs it."""
    return subprocess.run(command, cwd=work, env={"HOME": str(work), "PATH": os.environ["PATH"]}, capture_output=True, text=True, stdin=subprocess.DEVNULL)


def hadolint_findings(work, _):
    ran = run(work, [TOOLS["hadolint"], "--no-color", "Dockerfile"])
    yield from (f"hadolint: {line}" for line in ran.stdout.splitlines())
    if ran.returncode != 0 and not ran.stdout:
        yield f"hadolint: {ran.stderr.strip()}"


def trivy_findings(work, files):
    ran = run(work, [TOOLS["trivy"], "--quiet", "config", "--skip-check-update", "--format=json", "."])
    if ran.returncode != 0:
        yield f"trivy: {ran.stderr.strip()}"
        return
    results = {result["Target"]: result for result in json.loads(ran.stdout).get("Results", [])}
    meant = set()
    for file in files:
        # What it cannot read it passes over.
        if results.get(file, {}).get("MisconfSummary", {}).get("Successes", 0) < 20:
            yield f"trivy: {file} was not judged"
        for said in results.get(file, {}).get("Misconfigurations", []):
            reasons = [entry for entry in MEANT if entry[0] == said["ID"] and re.search(entry[1], said["Message"])]
            meant |= set(reasons)
            if not reasons:
                yield f"trivy: {file}: {said['ID']} ({said['Severity']}): {said['Message']}"
    for rule, _, _ in set(MEANT) - meant:
        yield f"trivy: nobody says {rule} any more: take it out of MEANT"


def findings(tools, dockerfile, built):
    """What those of the tools that are there say of a Dockerfile and of the objects of each kustomization."""
    found = []
    with tempfile.TemporaryDirectory() as directory:
        work = pathlib.Path(directory)
        shutil.copy(dockerfile, work / "Dockerfile")
        for name, things in built.items():
            (work / f"{name}.yaml").write_text(yaml.dump_all(things, Dumper=yaml.CSafeDumper))
        for tool, finds in [("hadolint", hadolint_findings), ("trivy", trivy_findings)]:
            if tool in tools and TOOLS[tool]:
                found += finds(work, ["Dockerfile", *(f"{name}.yaml" for name in built)])
    return found


def not_tried():
    return [name for name, path in TOOLS.items() if not path]
