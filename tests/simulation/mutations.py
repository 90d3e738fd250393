"""Does anything notice? Builds each bug of mutations.toml into a copy of the sources, and lets the simulation look for it;
what the simulation does not find, the crate's own specs must, and alone where it is of nothing that the simulation has (`specs`; with the
name of a crate, that one's). A bug
that names a test is looked for by that one alone.

Usage: mutations.py [part of a name]...
"""

import collections
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
import tomllib

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SECONDS = "30"
FLEET = ["holdfast", "holdfast-all-in-one", "holdfast-gateway", "holdfast-inventory", "holdfast-mail", "holdfast-orders", "holdfast-payments", "holdfast-rounds", "fake-stripe"]


# Copies and what is built of them stay, so that what has not changed is not built again next time.
COPIES = ROOT / "target/mutations/sources"


def target_of(copy):
    return ROOT / "target/mutations" / copy.name


def run(command, copy):
    # Nobody looks into these builds with a debugger.
    environment = dict(os.environ, CARGO_TARGET_DIR=str(target_of(copy)), CARGO_TERM_COLOR="never", CARGO_PROFILE_DEV_DEBUG="0")
    return subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)


def binary_of(test):
    """The test binary that has a test, which is the folder that its file is in."""
    module, name = test.rsplit("::", 1)
    files = (ROOT / "tests").glob(f"*/{module.replace('::', '/')}.rs")
    return next(file.relative_to(ROOT / "tests").parts[0] for file in files if f"fn {name}(" in file.read_text())


def caught_by_test(test, copy):
    """Whether a test on real servers catches it: it passes without the bug, as the whole suite shows."""
    built = run(["cargo", "build", "--quiet", *[f"--bin={name}" for name in FLEET]], copy)
    if built.returncode != 0:
        return None, "it does not compile:\n" + built.stderr[-2000:]
    ran = run(["cargo", "test", "--quiet", "--package", "holdfast-tests", "--test", binary_of(test), "--", "--exact", test], copy)
    if "1 failed" in ran.stdout:
        return "test", test
    return None, "nobody notices" if "1 passed" in ran.stdout else "its test did not run:\n" + ran.stdout[-2000:]


def caught_by_simulation(copy):
    built = run(["cargo", "build", "--quiet", "--bin=simulate"], copy)
    if built.returncode != 0:
        return None, "it does not compile:\n" + built.stderr[-2000:]
    lived = run([str(target_of(copy) / "debug/simulate"), "--seconds", SECONDS, "--threads", "1", "--seed", "1", "--as-found"], copy)
    if lived.returncode == 0:
        return None, "nobody notices"
    found = re.search(r"^violation after (.*?): (.*)$", lived.stdout, re.MULTILINE)
    return "simulation", f"{found[1]}: {found[2]}" if found else "it broke: " + lived.stderr.strip()[-200:]


def caught_by_specs(mutation, copy):
    parts = mutation["file"].split("/")
    crate = parts[1] if parts[0] == "services" else parts[0]
    if isinstance(mutation.get("specs"), str):
        crate = mutation["specs"]
    specs = run(["cargo", "test", "--quiet", "--package", crate], copy)
    if specs.returncode == 0:
        return None, "nobody notices"
    failed = re.findall(r"^test (\S+) ... FAILED|^    ([\w:]+)$", specs.stdout, re.MULTILINE)
    names = [one or other for one, other in failed]
    # Without a test that failed, it was not even built.
    return ("specs", ", ".join(sorted(set(names))[:3])) if names else (None, "no spec ran:\n" + specs.stderr[-2000:])


def caught_by(mutation, copy):
    """Who catches it, and after how much."""
    if "test" in mutation:
        return caught_by_test(mutation["test"], copy)
    if not mutation.get("specs"):
        who, how = caught_by_simulation(copy)
        if who or how.startswith("it does not compile"):
            return who, how
    return caught_by_specs(mutation, copy)


def make_alike(copy):
    """Makes the copy what the sources are. What was a mutation last time is written anew, and so built anew; the rest is left alone."""
    ignored = shutil.ignore_patterns("target", ".git", ".tools", ".holdfast")
    wanted = set()
    for folder, folders, files in os.walk(ROOT):
        folders[:] = set(folders) - ignored(folder, folders)
        wanted.update(pathlib.Path(folder, file).relative_to(ROOT) for file in files)
    for path in wanted:
        there = copy / path
        if not there.is_file() or there.read_bytes() != (ROOT / path).read_bytes():
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, there)
    for there in list(copy.rglob("*")):
        if there.is_file() and there.relative_to(copy) not in wanted:
            there.unlink()


def look(take, copy):
    """Tries one mutation after the other in a copy of its own. How many nobody caught."""
    make_alike(copy)
    missed = 0
    while mutation := take():
        begun = time.monotonic()
        path = copy / mutation["file"]
        text = path.read_text()
        if text.count(mutation["before"]) != 1:
            who, how = None, f"its place in {mutation['file']} is gone; mend mutations.toml"
        else:
            path.write_text(text.replace(mutation["before"], mutation["after"]))
            who, how = caught_by(mutation, copy)
            path.write_text(text)
        missed += who is None
        print(f"{mutation['name']:<78} {who or 'NOBODY':<11} {time.monotonic() - begun:>4.0f} s  {how}", flush=True)
    return missed


def main(wanted):
    mutations = tomllib.loads((HERE / "mutations.toml").read_text())["mutation"]
    mutations = [it for it in mutations if not wanted or any(part in it["name"] for part in wanted)]
    # Those of one file follow each other, and so do those that need the same builds: each build then has less to do. Three look at once, one
    # from the front and two from the back, where the tests on real servers are: these wait for most of their time.
    left = collections.deque(sorted(mutations, key=lambda it: ("test" in it, bool(it.get("specs")), it["file"])))
    from_front, from_back = lambda: left.popleft() if left else None, lambda: left.pop() if left else None
    takes = [from_front, from_back, from_back][: len(mutations)]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        missed = sum(pool.map(look, takes, [COPIES / str(n) for n in range(len(takes))]))
    print(f"{len(mutations) - missed} of {len(mutations)} caught")
    return 1 if missed else 0


sys.exit(main(sys.argv[1:]))
