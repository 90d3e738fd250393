"""Do the dashboards show something, and can one read them? Holds the files against our rules (lint.py) and the types of Grafana's own SDK; then
starts a private fleet, has buyers do all that buyers do, has a real Prometheus look at all processes, and asks it every query of every dashboard: each
must have series, but for what a fleet does not have in so short a time.

Usage: check.py HOLDFAST                     (the built `holdfast` command; HOLDFAST_PROMETHEUS is a Prometheus)
       check.py HOLDFAST --pictures DIR      lets the fleet work for some minutes, and draws each dashboard as DIR/NAME.svg
"""

import argparse
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
import urllib.parse
import urllib.request

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

import boards
import lint
import pictures
import traffic

# What is quiet when all is well: by board, panel and legend.
QUIET = set()
WITHIN_SECONDS = 90
PICTURE_BYTES_MAX = 60_000

# How often Prometheus looks, which orders are placed beside those of the buyers (how many, and how many a second), and which worker stands still for
# how long while they are.
SHORT = {"every": 1, "loads": [(300, None)], "still": None}
LONG = {"every": 5, "loads": [(960, 8), (2400, 20), (2400, 12)], "still": ("payments", 45)}


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
    if boards.README.read_text() != boards.page():
        yield "README.md is not what boards.py makes; run python3 deploy/dashboards/boards.py"


def processes(logs):
    """Where each process of the fleet is measured, by its name; once each has said so."""
    until = time.monotonic() + WITHIN_SECONDS
    while True:
        told = {log.stem: re.search(r'"address":"([^"]+)".*serving /livez|serving /livez.*"address":"([^"]+)"', log.read_text()) for log in logs.glob("*.log")}
        if all(told.values()):
            return {name: found[1] or found[2] for name, found in told.items()}
        if time.monotonic() > until:
            raise SystemExit(f"these do not say where they are measured: {[name for name, found in told.items() if not found]}")
        time.sleep(1)


def configured(targets, every):
    static = [
        {"targets": [address], "labels": {"pod": name, "job": name.rsplit("-", 1)[0], "namespace": "holdfast"}}
        for name, address in sorted(targets.items())
    ]
    return json.dumps({
        "global": {"scrape_interval": f"{every}s"},
        "scrape_configs": [{"job_name": "holdfast", "static_configs": static}],
    })


class Prometheus:
    """A Prometheus that looks at these processes. Leaving it ends it."""

    def __init__(self, program, work, targets, every):
        (work / "prometheus.yml").write_text(configured(targets, every))
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            address = "127.0.0.1:%s" % listener.getsockname()[1]
        command = [program, f"--config.file={work / 'prometheus.yml'}", f"--storage.tsdb.path={work / 'series'}", f"--web.listen-address={address}"]
        self.process = subprocess.Popen(command, stderr=(work / "prometheus.log").open("w"))
        self.url, self.every = f"http://{address}/api/v1", every

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def asked(self, how, query, rate_seconds, **more):
        """What it answers, as Grafana would ask it."""
        query = query.replace("$namespace", "holdfast").replace("$__rate_interval", f"{rate_seconds}s")
        with urllib.request.urlopen(f"{self.url}/{how}?{urllib.parse.urlencode({'query': query} | more)}", timeout=10) as answer:
            return json.load(answer)["data"]["result"]

    def lines(self, query, legend, begin, end, step):
        """The lines that a query draws: their names, and what was measured when. A rate is taken over as much as Grafana takes it."""
        for found in self.asked("query_range", query, max(4 * self.every, step + self.every), start=begin, end=end, step=step):
            yield pictures.named(legend, found["metric"]), [(float(at), float(value)) for at, value in found["values"]]


def all_series(prometheus):
    """How many series each query has, once each has one, or not at all in time."""
    queries = [(board, panel, query, legend) for board, (_, panels) in boards.BOARDS.items() for panel in panels for query, legend in panel["queries"]]
    until, counts = time.monotonic() + WITHIN_SECONDS, {}
    while time.monotonic() < until:
        for board, panel, query, legend in queries:
            if not counts.get((board, panel["title"], legend, query)):
                counts[board, panel["title"], legend, query] = len(prometheus.asked("query", query, 60))
        if all(count or (board, title, legend) in QUIET for (board, title, legend, _), count in counts.items()):
            break
        time.sleep(prometheus.every)
    return counts


def child(of, name):
    """The process of this name that another has started."""
    for found in pathlib.Path(f"/proc/{of}/task").glob("*/children"):
        for process in found.read_text().split():
            if pathlib.Path(f"/proc/{process}/cmdline").read_text().split("\0")[0].endswith(name):
                return int(process)
    raise SystemExit(f"there is no process {name}")


def place(holdfast, fleet, work, run):
    """Places the orders of a run; in the middle of it a worker stands still."""
    for number, (orders, rate) in enumerate(run["loads"]):
        command = [holdfast, "load", "--dir", str(work / "fleet"), "--orders", str(orders), "--products", "100", "--rounds", "10"]
        load = subprocess.Popen([*command, "--rate", str(rate)] if rate else command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if run["still"] and number == len(run["loads"]) // 2:
            name, seconds = run["still"]
            still = child(fleet.pid, f"holdfast-{name}")
            time.sleep(seconds)
            os.kill(still, signal.SIGSTOP)
            try:
                time.sleep(seconds)
            finally:
                os.kill(still, signal.SIGCONT)
        # While a worker stands still, orders end otherwise than they were told to.
        if load.wait() and not run["still"]:
            raise SystemExit("the orders did not end as they should")


def draw(prometheus, begin, directory):
    """Draws what there was since then."""
    end = int(time.time())
    step = max(prometheus.every, (end - begin) // 110)
    name, seconds = LONG["still"]
    note = f"A private fleet at work for {round((end - begin) / 60)} minutes. In the midst of it {name} stood still for {seconds} s."
    for name, (title, panels) in boards.BOARDS.items():
        answered = [
            panel | {"lines": [line for query, legend in panel["queries"] for line in prometheus.lines(query, legend, begin, end, step)]} for panel in panels
        ]
        drawn = pictures.draw(title, answered, begin, end, step, note, boards.drawn_from(name))
        (directory / f"{name}.svg").write_text(drawn)
        if len(drawn.encode()) > PICTURE_BYTES_MAX:
            yield f"{name}.svg has {len(drawn.encode())} bytes, and may have {PICTURE_BYTES_MAX}"


def query_findings(holdfast, program, drawn_to):
    run = LONG if drawn_to else SHORT
    with tempfile.TemporaryDirectory(prefix="holdfast-dashboards-") as directory:
        work = pathlib.Path(directory)
        with traffic.Outside(holdfast, work) as outside:
            command = [holdfast, "up", "--dir", str(work / "fleet")]
            fleet = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | outside.settings())
            try:
                url = token = None
                for line in fleet.stdout:
                    if found := re.search(r"HOLDFAST=(\S+) TOKEN=(\S+)", line):
                        url, token = found.groups()
                    if "is up" in line:
                        break
                else:
                    raise SystemExit("the fleet did not come up")
                with Prometheus(program, work, processes(work / "fleet/log"), run["every"]) as prometheus, traffic.Shop(outside, url, token):
                    begin = int(time.time())
                    place(holdfast, fleet, work, run)
                    yield from series_findings(all_series(prometheus))
                    if drawn_to:
                        yield from draw(prometheus, begin, drawn_to)
            finally:
                fleet.send_signal(signal.SIGINT)
                fleet.stdout.read()
                fleet.wait()


def picture_findings():
    for name in boards.BOARDS:
        path = boards.HERE / f"{name}.svg"
        if not path.is_file() or f"<metadata>{boards.drawn_from(name)}<" not in path.read_text():
            yield f"{path.name} was drawn from other queries; run ./justw check-dashboards --pictures deploy/dashboards"


def series_findings(counts):
    for (board, title, legend, query), count in counts.items():
        quiet = " (quiet here)" if (board, title, legend) in QUIET else ""
        print(f"{board:<8} {title:<34} {count:>3} series{quiet}  {query}")
        if not count and not quiet:
            yield f"{board}: {title!r} shows nothing: {query}"
    print(f"dashboards: {sum(map(bool, counts.values()))} of {len(counts)} queries have series")


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("holdfast")
    arguments.add_argument("--pictures", type=pathlib.Path, metavar="DIR", help="let the fleet work for some minutes, and draw each dashboard as DIR/NAME.svg")
    arguments = arguments.parse_args()
    findings = list(file_findings())
    panels = sum(len(panels) for _, panels in boards.BOARDS.values())
    print(f"dashboards: {len(boards.BOARDS)} with {panels} panels, held against {len(lint.RULES)} rules, which were tried in {len(lint.WAYS)} ways to break one")
    program = os.environ.get("HOLDFAST_PROMETHEUS")
    if program:
        findings += query_findings(arguments.holdfast, program, arguments.pictures)
    else:
        print("dashboards: NOT ASKED, for there is no Prometheus")
    findings += picture_findings()
    for finding in findings:
        print(f"dashboards: {finding}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
