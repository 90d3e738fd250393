"""Does anything notice? Builds each bug of mutations.toml into a copy of the sources, and lets the simulation look for it;
what the simulation does not find, the crate's own specs must, and alone where it is of nothing that the simulation has (`specs`; with the
name of a crate, that one's). A bug
that names a test is looked for by that one alone.

Usage: mutations.py [part of a name]...
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SECONDS = "30"
FLEET = ["holdfast", "holdfast-gateway", "holdfast-inventory", "holdfast-mail", "holdfast-orders", "holdfast-payments", "holdfast-rounds", "fake-stripe"]


def run(command, copy, target):
    # Three times as many days in the same time; and nobody looks into these builds with a debugger.
    profile = {"CARGO_PROFILE_DEV_OPT_LEVEL": "1", "CARGO_PROFILE_DEV_DEBUG": "0"}
    environment = dict(os.environ, CARGO_TARGET_DIR=str(target), CARGO_TERM_COLOR="never", **profile)
    return subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)


def caught_by_test(test, folder, copy, target):
    """Whether a test on real servers catches it: it passes without the bug, as the whole suite shows."""
    ran = run(["cargo", "test", "--quiet", "--package", "holdfast-tests", "--test", folder, "--", "--exact", test], copy, target)
    if "1 failed" in ran.stdout:
        return "test", test
    return None, "nobody notices" if "1 passed" in ran.stdout else "its test did not run:\n" + ran.stdout[-2000:]


def caught_by(mutation, copy, target):
    """Who catches it, and after how much."""
    test = mutation.get("test")
    if mutation.get("specs"):
        return caught_by_specs(mutation, copy, target)
    bins = [f"--bin={name}" for name in (FLEET if test else ["simulate"])]
    built = run(["cargo", "build", "--quiet", *bins], copy, target)
    if built.returncode != 0:
        return None, "it does not compile:\n" + built.stderr[-2000:]
    if test:
        return caught_by_test(test, mutation.get("folder", "faults"), copy, target)
    lived = run([str(target / "debug/simulate"), "--seconds", SECONDS, "--seed", "1"], copy, target)
    if lived.returncode != 0:
        found = re.search(r"^violation after (.*?): (.*)$", lived.stdout, re.MULTILINE)
        return "simulation", f"{found[1]}: {found[2]}" if found else "it broke: " + lived.stderr.strip()[-200:]
    return caught_by_specs(mutation, copy, target)


def caught_by_specs(mutation, copy, target):
    parts = mutation["file"].split("/")
    crate = parts[1] if parts[0] == "services" else parts[0]
    if isinstance(mutation.get("specs"), str):
        crate = mutation["specs"]
    specs = run(["cargo", "test", "--quiet", "--package", crate], copy, target)
    if specs.returncode == 0:
        return None, "nobody notices"
    failed = re.findall(r"^test (\S+) ... FAILED|^    (\S+)$", specs.stdout, re.MULTILINE)
    names = [one or other for one, other in failed]
    # Without a test that failed, it was not even built.
    return ("specs", ", ".join(sorted(set(names))[:3])) if names else (None, "no spec ran:\n" + specs.stderr[-2000:])


def main(wanted):
    mutations = tomllib.loads((HERE / "mutations.toml").read_text())["mutation"]
    mutations = [it for it in mutations if not wanted or any(part in it["name"] for part in wanted)]
    # Those of one file follow each other, and so do those that need the same builds: each build then has less to do.
    mutations.sort(key=lambda it: ("test" in it, bool(it.get("specs")), it["file"]))
    target = ROOT / "target/mutations"
    missed = 0
    with tempfile.TemporaryDirectory(prefix="holdfast-mutations-") as scratch:
        copy = pathlib.Path(scratch) / "copy"
        ignored = shutil.ignore_patterns("target", ".git", ".tools", ".holdfast")
        shutil.copytree(ROOT, copy, ignore=ignored, copy_function=shutil.copy2)
        for mutation in mutations:
            path = copy / mutation["file"]
            text = path.read_text()
            if text.count(mutation["before"]) != 1:
                print(f"{mutation['name']}: its place in {mutation['file']} is gone; mend mutations.toml")
                missed += 1
                continue
            path.write_text(text.replace(mutation["before"], mutation["after"]))
            who, how = caught_by(mutation, copy, target)
            path.write_text(text)
            missed += who is None
            print(f"{mutation['name']:<66} {who or 'NOBODY':<11} {how}", flush=True)
    print(f"{len(mutations) - missed} of {len(mutations)} caught")
    return 1 if missed else 0


sys.exit(main(sys.argv[1:]))
