"""Do the dashboards show something? Starts a private fleet, places orders of all kinds, has a real Prometheus look at all processes, and asks it
every query of every dashboard: each must have series, but for what a healthy fleet does not have. Holds the files against our rules (lint.py) and the types of
Grafana's own SDK.

Usage: check.py HOLDFAST     (the built `holdfast` command; HOLDFAST_PROMETHEUS is a Prometheus)
"""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

import boards
import lint

EVERY_SECONDS = 1
# What no healthy fleet has, or not the one of this check, whose provider is the sandbox.
QUIET = {("money", "Disputes"), ("fleet", "Findings")}
WITHIN_SECONDS = 90


def lost(file, read, place=""):
    """What Grafana's types do not know of a file."""
    if isinstance(file, dict) and isinstance(read, dict):
        for key, value in file.items():
            if value is not None:
                yield from lost(value, read.get(key), f"{place}.{key}")
    elif isinstance(file, list) and isinstance(read, list) and len(file) == len(read):
        for at, (value, other) in enumerate(zip(file, read)):
            yield from lost(value, other, f"{place}[{at}]")
    elif file != read:
        yield f"{place.lstrip('.')} is {file!r} here and {read!r} to Grafana"


def file_findings():
    register_default_plugins()
    for name in boards.BOARDS:
        path = boards.WRITTEN_TO / f"{name}.json"
        if not path.is_file() or path.read_text() != boards.text(name):
            yield f"{path.name} is not what boards.py makes; run python3 deploy/dashboards/boards.py"
            continue
        if f"- dashboards/{path.name}" not in (path.parent.parent / "kustomization.yaml").read_text():
            yield f"{path.name} is not in the ConfigMap of kustomization.yaml"
        file = json.loads(path.read_text())
        for what in lost(file, json.loads(JSONEncoder().encode(Dashboard.from_json(file)))):
            yield f"{path.name}: {what}"
        yield from (what for _, what in lint.findings(name, file))
    yield from lint.unnoticed(json.loads(boards.text("fleet")))


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def processes(logs):
    """Where each process of the fleet is measured, by its name; once each has said so."""
    until = time.monotonic() + WITHIN_SECONDS
    while True:
        told = {log.stem: re.search(r'"address":"([^"]+)".*serving /livez|serving /livez.*"address":"([^"]+)"', log.read_text()) for log in logs.glob("*.log")}
        if all(told.values()):
            return {name: found[1] or found[2] for name, found in told.items()}
        if time.monotonic() > until:
            raise SystemExit(f"these do not say where they are measured: {[name for name, found in told.items() if not found]}")
        time.sleep(EVERY_SECONDS)


def configured(targets):
    static = [
        {"targets": [address], "labels": {"pod": name, "job": name.rsplit("-", 1)[0], "namespace": "holdfast"}}
        for name, address in sorted(targets.items())
    ]
    return json.dumps({
        "global": {"scrape_interval": f"{EVERY_SECONDS}s"},
        "scrape_configs": [{"job_name": "holdfast", "static_configs": static}],
    })


def series(prometheus, query):
    """How many lines a query draws."""
    asked = query.replace("$namespace", "holdfast").replace("$__rate_interval", "1m")
    url = f"{prometheus}/api/v1/query?{urllib.parse.urlencode({'query': asked})}"
    with urllib.request.urlopen(url, timeout=10) as answer:
        return len(json.load(answer)["data"]["result"])


def slip(url, token):
    """Sends another command under a key that is taken, which nobody keeps and everybody counts."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json", "Idempotency-Key": "taken"}
    body = json.dumps({"sku": "MUG", "name": f"Mug {time.monotonic_ns()}"}).encode()
    try:
        urllib.request.urlopen(urllib.request.Request(f"{url}/v1/products", body, headers), timeout=10).read()
    except urllib.error.HTTPError as refused:
        assert refused.code == 422, refused.read()


def all_series(prometheus, again):
    """How many lines each query draws, once each draws one, or not at all in time."""
    queries = [(board, drawn, query) for board, (_, panels) in boards.BOARDS.items() for drawn in panels for query, _ in drawn["queries"]]
    until, counts = time.monotonic() + WITHIN_SECONDS, {}
    while time.monotonic() < until:
        again()
        for board, drawn, query in queries:
            if not counts.get((board, drawn["title"], query)):
                counts[board, drawn["title"], query] = series(prometheus, query)
        if all(count or (board, title) in QUIET for (board, title, _), count in counts.items()):
            break
        time.sleep(EVERY_SECONDS)
    return counts


def query_findings(holdfast, program):
    with tempfile.TemporaryDirectory(prefix="holdfast-dashboards-") as directory:
        work = pathlib.Path(directory)
        mail = {"HOLDFAST_MAIL_SERVER": f"smtp://127.0.0.1:{free_port()}", "HOLDFAST_MAIL_FROM": "shop@example.com"}
        fleet = subprocess.Popen([holdfast, "up", "--dir", str(work / "fleet")], stdout=subprocess.PIPE, text=True, env=os.environ | mail)
        measured = None
        try:
            url = token = None
            for line in fleet.stdout:
                if found := re.search(r"HOLDFAST=(\S+) TOKEN=(\S+)", line):
                    url, token = found.groups()
                if "is up" in line:
                    break
            else:
                raise SystemExit("the fleet did not come up")
            (work / "prometheus.yml").write_text(configured(processes(work / "fleet/log")))
            port = free_port()
            measured = subprocess.Popen(
                [program, f"--config.file={work / 'prometheus.yml'}", f"--storage.tsdb.path={work / 'series'}", f"--web.listen-address=127.0.0.1:{port}"],
                stderr=(work / "prometheus.log").open("w"),
            )
            place = [holdfast, "load", "--dir", str(work / "fleet"), "--orders", "300"]
            subprocess.run(place, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            return all_series(f"http://127.0.0.1:{port}", lambda: slip(url, token))
        finally:
            if measured:
                measured.terminate()
                measured.wait()
            fleet.send_signal(signal.SIGINT)
            fleet.stdout.read()
            fleet.wait()


def main(holdfast):
    findings = list(file_findings())
    panels = sum(len(panels) for _, panels in boards.BOARDS.values())
    print(f"dashboards: {len(boards.BOARDS)} with {panels} panels, held against {len(lint.RULES)} rules, which were tried in {len(lint.WAYS)} ways to break one")
    program = os.environ.get("HOLDFAST_PROMETHEUS")
    if program:
        counts = query_findings(holdfast, program)
        for (board, title, query), count in counts.items():
            quiet = " (quiet here)" if (board, title) in QUIET else ""
            print(f"{board:<8} {title:<34} {count:>3} series{quiet}  {query}")
            if not count and not quiet:
                findings.append(f"{board}: {title!r} shows nothing: {query}")
    else:
        print("dashboards: NOT ASKED, for there is no Prometheus")
    for finding in findings:
        print(f"dashboards: {finding}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
