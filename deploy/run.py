"""Builds the image and runs compose.yaml for real, under a Docker engine of its own in a network namespace of its own, and places an order.

There is no registry here, so the images of others are stand-ins, made of Debian packages and of the nats-server that the tests use, under the names that
Dockerfile and compose.yaml ask for. Needs root, and the programs that NEEDED names.

Usage: run.py DIRECTORY    the directory of the programs that were built
Exit codes: 0 it ran, 1 it failed, 3 this machine cannot run it.
"""

import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
NEEDED = ["docker", "dockerd", "containerd", "runc", "iptables", "ip", "mmdebstrap", "strip", "tar", "unshare"]
PROGRAMS = ["holdfast", *(f"holdfast-{name}" for name in ["all-in-one", "gateway", "inventory", "mail", "orders", "payments", "rounds"])]
IMAGE_BYTES_MAX = 80_000_000
TOKEN = "a token for a test"
ORDER = "7b1f0a52-3c8e-4d3a-9a51-0e9f6f2d8c11"
# What the image of Postgres does with the two variables that compose.yaml sets, and no more.
POSTGRES = """#!/bin/sh
set -eu
PATH=$(echo /usr/lib/postgresql/*/bin):$PATH
export PGDATA=/var/lib/postgresql/data
if [ ! -e "$PGDATA/PG_VERSION" ]; then
    initdb --username=postgres --auth="$POSTGRES_HOST_AUTH_METHOD" >/dev/null
    echo "host all all all $POSTGRES_HOST_AUTH_METHOD" >>"$PGDATA/pg_hba.conf"
    pg_ctl --wait --options="-c listen_addresses='' -c unix_socket_directories=/tmp" start >/dev/null
    createdb --host=/tmp --username=postgres "$POSTGRES_DB"
    pg_ctl --wait stop >/dev/null
fi
exec "$@" -c listen_addresses='*' -c unix_socket_directories=/tmp
"""


def run(*command, **more):
    """Runs a command; its output, if it went well."""
    ran = subprocess.run([str(part) for part in command], capture_output=True, text=True, stdin=subprocess.DEVNULL, **more)
    if ran.returncode != 0:
        raise SystemExit(f"deploy: {' '.join(map(str, command))}: exit code {ran.returncode}\n{ran.stdout[-3000:]}{ran.stderr[-3000:]}")
    return ran.stdout


def until(what, seconds, probe):
    """Waits until a probe answers something."""
    deadline = time.monotonic() + seconds
    while True:
        found = probe()
        if found:
            return found
        if time.monotonic() > deadline:
            raise SystemExit(f"deploy: {what}: not within {seconds} s")
        time.sleep(0.2)


def cannot():
    """Why this machine cannot run it."""
    if os.getuid() != 0:
        yield "it is not run by root"
    yield from (f"there is no {program}" for program in NEEDED if not shutil.which(program))
    if shutil.which("docker") and subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode != 0:
        yield "docker has no compose"


def make_stand_ins(work):
    """The file systems of others' images. Packages come from where the machine's own do."""
    sources = [str(path) for path in sorted(pathlib.Path("/etc/apt/sources.list.d").glob("debian.*"))] or ["/etc/apt/sources.list"]
    run("mmdebstrap", "--mode=root", "--variant=essential", "bookworm", work / "debian.tar", *sources)
    run("mmdebstrap", "--mode=root", "--variant=extract", "--include=dash,coreutils,postgresql-15,locales,tzdata", "bookworm", work / "postgres", *sources)
    entrypoint = work / "postgres/entrypoint"
    entrypoint.write_text(POSTGRES)
    entrypoint.chmod(0o755)
    data = work / "postgres/var/lib/postgresql"
    data.mkdir(parents=True, exist_ok=True)
    os.chown(data, 999, 999)
    (work / "postgres/etc/passwd").write_text("root:x:0:0::/:/bin/sh\npostgres:x:999:999::/var/lib/postgresql:/bin/sh\n")
    (work / "nats/data").mkdir(parents=True)
    shutil.copy(os.environ["HOLDFAST_NATS_SERVER"], work / "nats/nats-server")


def import_stand_ins(work):
    run("docker", "import", work / "debian.tar", "debian:bookworm-slim")
    for name, change in [
        ("postgres:18", ['ENTRYPOINT ["/bin/sh", "/entrypoint"]', "USER 999:999", "ENV PATH=/usr/lib/postgresql/15/bin:/usr/bin:/bin"]),
        ("nats:2.15", ['ENTRYPOINT ["/nats-server"]']),
    ]:
        tar = work / "image.tar"
        run("tar", "--create", "--file", tar, "--directory", work / name.split(":")[0], ".")
        run("docker", "import", *(f"--change={line}" for line in change), tar, name)
        print(f"deploy: {name} is a stand-in")


def build_image(work, programs):
    (work / "programs").mkdir()
    for program in PROGRAMS:
        run("strip", "-o", work / "programs" / program, programs / program)
    environment = dict(os.environ, DOCKER_BUILDKIT="0")
    run("docker", "build", "--tag=holdfast:0.1.0", f"--file={HERE}/image/Dockerfile", "--target=prebuilt", work / "programs", env=environment)
    there = int(run("docker", "image", "inspect", "--format={{.Size}}", "holdfast:0.1.0"))
    run("sh", "-c", f"docker save holdfast:0.1.0 | gzip >{work}/image.tar.gz")
    pulled = (work / "image.tar.gz").stat().st_size
    print(f"deploy: the image has {there / 1e6:.0f} MB, and is pulled as {pulled / 1e6:.0f} MB")
    if pulled > IMAGE_BYTES_MAX:
        raise SystemExit(f"deploy: it is pulled as {pulled} bytes, and {IMAGE_BYTES_MAX} are allowed")
    confined = ["--rm", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--network=none"]
    for user in ["65532", "4711"]:
        print(f"deploy: as user {user}: {run('docker', 'run', *confined, f'--user={user}', 'holdfast:0.1.0', 'holdfast', '--version').strip()}")
    shell = subprocess.run(["docker", "run", *confined, "holdfast:0.1.0", "/bin/sh", "-c", "true"], capture_output=True, check=False)
    if shell.returncode != 127:
        raise SystemExit("deploy: the image has a shell")


def ask(path, key=None, body=None):
    """What the gateway answers, or None if it does not yet."""
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"} | ({"Idempotency-Key": key} if key else {})
    request = urllib.request.Request(f"http://127.0.0.1:8080/v1/{path}", json.dumps(body).encode() if body else None, headers)
    try:
        with urllib.request.urlopen(request, timeout=40) as answer:
            return json.load(answer) if answer.status != 202 else None
    except urllib.error.HTTPError as error:
        if error.code < 500:
            raise SystemExit(f"deploy: {path}: {error.code} {error.read().decode()}") from error
        return None
    except OSError:
        return None


def place_an_order():
    until("a product", 120, lambda: ask("products", "product-1", {"sku": "MUG-01", "name": "Mug"}))
    until("stock", 60, lambda: ask("products/MUG-01/receive", "delivery-1", {"quantity": 100}))
    line = {"sku": "MUG-01", "quantity": 2, "unit_price": {"minor_units": 1250, "currency": "EUR"}}
    order = {"order_id": ORDER, "customer_id": "customer-42", "payment_method": "sandbox:succeed", "lines": [line]}
    until("an order", 60, lambda: ask("orders", "order-1", order))
    until("its payment", 60, lambda: (ask(f"orders/{ORDER}") or {}).get("status") == "paid")
    print("deploy: an order was placed through the gateway and paid")


def run_fleet(work):
    tokens = work / "tokens.toml"
    scopes = '["orders:read", "orders:write", "catalog:write"]'
    tokens.write_text(f'[[token]]\ncaller = "shop"\nsha256 = "{hashlib.sha256(TOKEN.encode()).hexdigest()}"\nscopes = {scopes}\n')
    environment = dict(os.environ, HOLDFAST_TOKENS=str(tokens))
    compose = ["docker", "compose", "--file", HERE / "compose.yaml"]
    began = time.monotonic()
    try:
        run(*compose, "up", "--detach", "--quiet-pull", env=environment)
        place_an_order()
        print(f"deploy: {time.monotonic() - began:.0f} s after its start")
        began = time.monotonic()
        run(*compose, "restart", "orders", "inventory", "rounds", "payments", "gateway", env=environment)
        until("the order after all processes were restarted", 60, lambda: (ask(f"orders/{ORDER}") or {}).get("status") == "paid")
        print(f"deploy: all processes were restarted in {time.monotonic() - began:.0f} s")
        verdict = json.loads(run(*compose, "run", "--rm", "tools", "verify", "--json", env=environment))
        print(f"deploy: verify: ok: {verdict['ok']}")
        killed = run(*compose, "ps", "--all", "--format={{.Name}} {{.State}} {{.ExitCode}}", env=environment)
        print("".join(f"deploy: {line}\n" for line in sorted(killed.splitlines())), end="")
        return verdict["ok"]
    except SystemExit:
        subprocess.run([*map(str, compose), "logs", "--tail=20", "--no-color"], env=environment, check=False)
        raise
    finally:
        subprocess.run([*map(str, compose), "down", "--volumes", "--timeout=20"], env=environment, capture_output=True, check=False)


def inside(work, programs):
    """In a network namespace that has nothing yet."""
    run("ip", "link", "set", "lo", "up")
    os.environ["DOCKER_HOST"] = f"unix://{work}/docker.sock"
    places = [f"--data-root={work}/data", f"--exec-root={work}/exec", f"--pidfile={work}/docker.pid", f"--host={os.environ['DOCKER_HOST']}"]
    with open(work / "dockerd.log", "w") as log, subprocess.Popen(["dockerd", *places], stdout=log, stderr=log) as engine:
        try:
            says = lambda: subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0 or engine.poll() is not None
            until("the Docker engine", 60, says)
            if engine.poll() is not None:
                raise SystemExit("deploy: the Docker engine does not start:\n" + (work / "dockerd.log").read_text()[-2000:])
            import_stand_ins(work)
            build_image(work, programs)
            return 0 if run_fleet(work) else 1
        finally:
            engine.terminate()


def main():
    programs = pathlib.Path(sys.argv[1]).resolve()
    if len(sys.argv) == 3:
        return inside(pathlib.Path(sys.argv[2]), programs)
    reasons = list(cannot())
    if reasons:
        print(f"deploy: this machine cannot run it: {'; '.join(reasons)}")
        return 3
    with tempfile.TemporaryDirectory(prefix="holdfast-deploy-", ignore_cleanup_errors=True) as work:
        began = time.monotonic()
        make_stand_ins(pathlib.Path(work))
        print(f"deploy: stand-ins were made in {time.monotonic() - began:.0f} s", flush=True)
        return subprocess.run(["unshare", "--net", sys.executable, __file__, programs, work], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
