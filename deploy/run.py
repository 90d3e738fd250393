"""Builds the image and runs compose.yaml for real, under a Docker engine of its own in a network namespace of its own: orders are placed through the
gateway while every container is killed, and then stopped and started again, once, and while passwords and keys are changed. All has to end as it must,
and whoever watches the fleet has to have seen it (monitoring.py).

There is no registry here, so the images of others are stand-ins, made of Debian packages and of the nats-server that the tests use, under the names that
Dockerfile and compose.yaml ask for. Needs root, and the programs that NEEDED names.

Usage: run.py DIRECTORY    the directory of the programs that were built
Exit codes: 0 it ran, 1 it failed, 3 this machine cannot run it.
"""

import collections
import http.client
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse

from shop import Caller, Shop, not_as_told, run, until

import monitoring

HERE = pathlib.Path(__file__).resolve().parent
NEEDED = ["docker", "dockerd", "containerd", "runc", "iptables", "ip", "mmdebstrap", "strip", "tar", "unshare"]
PROGRAMS = ["holdfast", *(f"holdfast-{name}" for name in ["all-in-one", "gateway", "inventory", "mail", "orders", "payments", "rounds", "traces"])]
IMAGE_BYTES_MAX = 80_000_000
# Orders, at least, and how many are placed at once.
ORDERS = 10_000
BUYERS = 16
# Of the gateway, in compose.yaml.
PORT = 8080
# Containers, each of which is killed and rolled. Whoever has a number behind its name is one of two.
CONTAINERS = [f"{name}-{number}" for name in ["orders", "inventory", "rounds", "payments"] for number in [1, 2]]
CONTAINERS += ["gateway-1", "nats-0-1", "nats-1-1", "nats-2-1", "postgres-1"]
# Programs whose passwords and keys are changed.
PROCESSES = ["orders", "inventory", "rounds", "payments", "gateway"]
# Who stands still at the end, until somebody is woken.
FROZEN = "inventory-2"
# Who reads the secrets: nobody else on this machine, and no user of the image.
READER = 4711
# What the image of Postgres does with the settings of compose.yaml, and no more.
POSTGRES = """#!/bin/sh
set -eu
PATH=$(echo /usr/lib/postgresql/*/bin):$PATH
export PGDATA=/var/lib/postgresql/data
if [ "$(id -u)" = 0 ]; then
    mkdir -p "$PGDATA" /var/run/postgresql
    chown -R postgres:postgres "$PGDATA" /var/run/postgresql
    POSTGRES_PASSWORD=$(cat "$POSTGRES_PASSWORD_FILE") exec setpriv --reuid=postgres --regid=postgres --clear-groups /bin/sh "$0" "$@"
fi
if [ ! -e "$PGDATA/PG_VERSION" ]; then
    echo "$POSTGRES_PASSWORD" >/tmp/password
    initdb --username=postgres --pwfile=/tmp/password --auth-local=trust --auth-host=scram-sha-256 >/dev/null
    rm /tmp/password
    program=$1
    shift
    pg_ctl --wait --options="$* -c listen_addresses=''" start >/dev/null
    for file in /docker-entrypoint-initdb.d/*.sql; do
        psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --username=postgres --dbname=postgres --file="$file"
    done
    pg_ctl --wait stop >/dev/null
    set -- "$program" "$@"
fi
exec "$@" -c listen_addresses='*'
"""


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
    run("mmdebstrap", "--mode=root", "--variant=extract", "--include=dash,coreutils,util-linux,postgresql-15,locales,tzdata", "bookworm", work / "postgres", *sources)
    entrypoint = work / "postgres/usr/local/bin/docker-entrypoint.sh"
    entrypoint.parent.mkdir(parents=True, exist_ok=True)
    entrypoint.write_text(POSTGRES)
    entrypoint.chmod(0o755)
    (work / "postgres/docker-entrypoint-initdb.d").mkdir()
    (work / "postgres/etc/passwd").write_text("root:x:0:0::/:/bin/sh\npostgres:x:999:999::/var/lib/postgresql:/bin/sh\n")
    (work / "postgres/etc/group").write_text("root:x:0:\npostgres:x:999:\n")
    run("mmdebstrap", "--mode=root", "--variant=extract", f"--include={monitoring.PACKAGES}", "bookworm", work / "watchers", *sources)
    monitoring.make_stand_in(work / "watchers")
    (work / "nats/data").mkdir(parents=True)
    shutil.copy(os.environ["HOLDFAST_NATS_SERVER"], work / "nats/nats-server")


def import_stand_ins(work):
    run("docker", "import", work / "debian.tar", "debian:bookworm-slim")
    for name, change in [
        ("postgres:18", ["ENV PATH=/usr/local/bin:/usr/lib/postgresql/15/bin:/usr/bin:/bin"]),
        ("nats:2.15", ['ENTRYPOINT ["/nats-server"]']),
        ("holdfast-watchers", []),
    ]:
        tar = work / "image.tar"
        run("tar", "--create", "--file", tar, "--directory", work / name.removeprefix("holdfast-").split(":")[0], ".")
        run("docker", "import", *(f"--change={line}" for line in change), tar, name)
        print(f"deploy: {name} is a stand-in")
    (work / "empty").mkdir()
    for name, text in monitoring.images():
        (work / "Dockerfile").write_text(text)
        run("docker", "build", f"--tag={name}", f"--file={work}/Dockerfile", work / "empty", env=dict(os.environ, DOCKER_BUILDKIT="0"))
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


class Stack:
    """compose.yaml, as it runs."""

    def __init__(self, work):
        self.secrets = work / "secrets"
        self.environment = dict(os.environ, HOLDFAST_SECRETS=str(self.secrets), HOLDFAST_USER=str(READER), COMPOSE_PROFILES="monitoring,traces")
        self.make_secrets()
        self.caller = Caller((self.secrets / "token").read_text().strip(), PORT)

    def compose(self, *words):
        return run("docker", "compose", "--file", HERE / "compose.yaml", *words, env=self.environment)

    def make_secrets(self):
        run(sys.executable, "-B", HERE / "credentials.py", self.secrets)
        for path in [self.secrets, *self.secrets.rglob("*")]:
            os.chown(path, READER, READER)

    def state(self, container):
        return json.loads(run("docker", "inspect", "--format={{json .State}}", f"holdfast-{container}"))

    def until_up(self, container):
        """Running, and well if it says how it is."""
        until(f"{container} runs", 120, lambda: self.state(container)["Running"] and self.state(container).get("Health", {}).get("Status", "healthy") == "healthy")

    def kill(self, container):
        """As the kernel kills, which Docker takes for a crash."""
        os.kill(self.state(container)["Pid"], signal.SIGKILL)

    def roll(self, container):
        run("docker", "restart", "--time=60", f"holdfast-{container}")

    def change_credentials(self):
        """Passwords, and keys of the broker's users. Nothing is restarted."""
        for process in PROCESSES:
            (self.secrets / f"holdfast-{process}/database-password").unlink()
            (self.secrets / f"keys/{process}.nk").unlink()
        self.make_secrets()
        self.compose("run", "--rm", "roles")
        self.compose("kill", "--signal", "HUP", "nats-0", "nats-1", "nats-2")


def harm_all(stack):
    """Kills and rolls each container; prints how long it took until an order was placed and paid after that."""
    print("deploy: | container | killed | stopped and started |\ndeploy: |---|---|---|")
    for container in CONTAINERS:
        took = []
        for harm in [stack.kill, stack.roll]:
            began = time.monotonic()
            harm(container)
            stack.caller.buys()
            took.append(time.monotonic() - began)
            stack.until_up(container)
        print(f"deploy: | {container} | {took[0]:.1f} s | {took[1]:.1f} s |", flush=True)


def processes():
    """How many there are of each process that is measured."""
    names = [name.rpartition("-")[0] for name in CONTAINERS if not name.startswith(("nats", "postgres"))]
    return {**collections.Counter(names), "traces": 1}


def until_watched(stack):
    """All is measured, and a round is opened, by somebody whose trace is always told of (traces.one_in)."""
    until("every process is measured", 120, lambda: monitoring.is_measured(processes()))
    until("every rule is asked", 60, monitoring.is_judged)
    monitoring.open_round(stack.caller.token)
    print(f"deploy: {sum(processes().values())} processes are measured, by {len(monitoring.rules())} rules", flush=True)


def not_seen():
    """What those who watch the fleet have not seen, or have and should not."""
    spans, read = (json.loads(run("docker", "logs", "--tail=1", f"holdfast-{name}-1") or "{}") for name in ["otel-collector", "grafana"])
    print(f"deploy: the collector was told of so many spans: {spans}")
    print(f"deploy: alerts that fired: {monitoring.fired()}")
    return list(monitoring.findings(processes(), spans, read))


def until_woken():
    """Freezes a process, of which nothing but Prometheus takes notice, until somebody is woken; and thaws it."""
    networks = json.loads(run("docker", "inspect", "--format={{json .NetworkSettings.Networks}}", f"holdfast-{FROZEN}"))
    pod = f"{FROZEN.rpartition('-')[0]}-{networks['holdfast_default']['IPAddress']}"
    began = time.monotonic()
    run("docker", "pause", f"holdfast-{FROZEN}")
    try:
        until("somebody is woken", 300, lambda: monitoring.told("HoldfastDown") == {pod: ["page"]})
        print(f"deploy: {FROZEN} was frozen: Alertmanager was told of HoldfastDown, {pod}, after {time.monotonic() - began:.0f} s", flush=True)
    finally:
        run("docker", "unpause", f"holdfast-{FROZEN}")
    until("nobody is woken any more", 300, lambda: not monitoring.told("HoldfastDown"))
    print(f"deploy: {FROZEN} goes on, and nobody is woken any more", flush=True)


def look_at_console(token):
    """Signs in as a browser does, and opens the first page."""
    host = f"127.0.0.1:{PORT}"
    connection = http.client.HTTPConnection(host, timeout=30)
    form = {"Origin": f"http://{host}", "Content-Type": "application/x-www-form-urlencoded"}
    connection.request("POST", "/console/sign-in", urllib.parse.urlencode({"token": token}), form)
    answer = connection.getresponse()
    answer.read()
    connection.request("GET", "/console/", headers={"Cookie": (answer.getheader("Set-Cookie") or "").split(";")[0]})
    page = connection.getresponse()
    if page.status != 200 or b"Last orders" not in page.read():
        raise SystemExit(f"deploy: the console does not let in whoever has the token: {answer.status}, {page.status}")
    print("deploy: the console lets in whoever has the token", flush=True)


def run_fleet(work):
    stack = Stack(work)
    try:
        began = time.monotonic()
        stack.compose("up", "--detach", "--quiet-pull")
        stack.caller.stock()
        stack.caller.buys()
        print(f"deploy: an order was placed through the gateway and paid {time.monotonic() - began:.0f} s after the start of all", flush=True)
        look_at_console(stack.caller.token)
        until_watched(stack)
        began, shop = time.monotonic(), Shop(stack.caller.token, PORT, BUYERS)
        try:
            harm_all(stack)
            stack.change_credentials()
            print(f"deploy: with other passwords and keys an order was placed and paid after {stack.caller.buys():.1f} s", flush=True)
            for container in CONTAINERS:
                if not container.startswith(("nats", "postgres")):
                    stack.roll(container)
            print(f"deploy: and with all processes started again, after {stack.caller.buys():.1f} s", flush=True)
            until(f"{ORDERS} orders", 900, lambda: len(shop.placed) >= ORDERS or shop.failed)
        finally:
            shop.stop()
        print(f"deploy: {len(shop.placed)} orders in {time.monotonic() - began:.0f} s: {dict(collections.Counter(shop.placed.values()))}", flush=True)
        wrong = not_as_told(stack.caller, shop)
        print(f"deploy: {len(wrong)} of them did not end as they had to {wrong[:5]}")
        verdict = json.loads(stack.compose("run", "--rm", "tools", "verify", "--json"))
        print(f"deploy: verify: ok: {verdict['ok']}")
        unseen = not_seen()
        print("".join(f"deploy: {finding}\n" for finding in unseen), end="", flush=True)
        until_woken()
        there = stack.compose("ps", "--all", "--format={{.Name}} {{.State}} {{.ExitCode}}")
        print("".join(f"deploy: {line}\n" for line in sorted(there.splitlines())), end="")
        return verdict["ok"] and not wrong and not unseen
    except BaseException:
        subprocess.run(["docker", "compose", "--file", HERE / "compose.yaml", "logs", "--tail=20", "--no-color"], env=stack.environment, check=False)
        raise
    finally:
        down = ["docker", "compose", "--file", HERE / "compose.yaml", "down", "--volumes", "--timeout=20"]
        subprocess.run(down, env=stack.environment, capture_output=True, check=False)


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
