"""What run.py does with the profiles of compose.yaml: stand-ins for others' images, and what these have to say at the end.

Prometheus and Alertmanager are Debian's. The collector is one that counts spans. In place of Grafana, which cannot be had here, a program reads Grafana's
files and does nothing with them; its dashboards' queries are asked here.
"""

import collections
import datetime
import json
import os
import pathlib
import re
import sys
import urllib.parse
import urllib.request
import uuid

HERE = pathlib.Path(__file__).resolve().parent
sys.path.append(str(HERE / "dashboards"))
import boards

# Where compose.yaml has them.
PROMETHEUS, ALERTMANAGER = "http://127.0.0.1:9090", "http://127.0.0.1:9093"
# Of Debian, in one image for all.
PACKAGES = "prometheus,prometheus-alertmanager,python3"
# Whoever runs in others' images: nobody.
USER = 65534
# Takes spans in, and says of how many of each service it was told so far.
COLLECTOR = """import collections, http.server, json, signal, sys

told = collections.Counter()


class Collector(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        for resource in body["resourceSpans"]:
            [service] = [part["value"]["stringValue"] for part in resource["resource"]["attributes"] if part["key"] == "service.name"]
            told[service] += sum(len(scope["spans"]) for scope in resource["scopeSpans"])
        self.send_response(200 if self.path == "/v1/traces" else 404)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")
        print(json.dumps(told), flush=True)

    def log_message(self, *_):
        pass


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
http.server.ThreadingHTTPServer(("0.0.0.0", 4318), Collector).serve_forever()
"""
# Reads and writes what Grafana does, and says what it has read.
GRAFANA = """import json, os, pathlib, signal, sys

signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
password = pathlib.Path(os.environ["GF_SECURITY_ADMIN_PASSWORD__FILE"]).read_text().strip()
pathlib.Path("/var/lib/grafana/grafana.db").write_text(password)
provisioned = [path.read_text() for path in pathlib.Path("/etc/grafana/provisioning").glob("*/*.yaml")]
boards = [json.loads(path.read_text())["uid"] for path in pathlib.Path("/etc/holdfast/dashboards").glob("*.json")]
print(json.dumps({"provisioned": len(provisioned), "dashboards": sorted(boards)}), flush=True)
signal.pause()
"""
# Each with what starts in it.
PROGRAMS = {
    "PROMETHEUS": ["/usr/bin/prometheus"],
    "ALERTMANAGER": ["/usr/bin/prometheus-alertmanager"],
    "GRAFANA": ["/usr/bin/python3.11", "/grafana.py"],
    "COLLECTOR": ["/usr/bin/python3.11", "/collector.py"],
}
TOLD_OF = {"holdfast-orders", "holdfast-inventory", "holdfast-rounds", "holdfast-payments"}
# Panels of what run.py does not do, mail, slips, disputes, and of what is wrong, when nothing is.
QUIET = re.compile("holdfast_mail|holdfast_slips_total|Dispute|holdfast_findings")


def make_stand_in(root):
    """Completes a file system of PACKAGES."""
    (root / "collector.py").write_text(COLLECTOR)
    (root / "grafana.py").write_text(GRAFANA)
    for name in ["prometheus", "alertmanager"]:
        (root / name).mkdir()
        os.chown(root / name, USER, USER)
    # Grafana's image lets any user write here.
    (root / "var/lib/grafana").mkdir()
    (root / "var/lib/grafana").chmod(0o777)


def images():
    """The images that compose.yaml asks for, and the file each is built of from the stand-in."""
    compose = (HERE / "compose.yaml").read_text()
    for name, program in PROGRAMS.items():
        image = re.search(rf"_{name}_IMAGE:-([^}}]+)", compose)[1]
        yield image, f"FROM holdfast-watchers\nUSER {USER}\nENTRYPOINT {json.dumps(program)}\n"


def ask(server, path, **query):
    """What Prometheus or Alertmanager answers, or None if it does not yet."""
    try:
        with urllib.request.urlopen(f"{server}{path}?{urllib.parse.urlencode(query)}", timeout=30) as answer:
            said = answer.read().decode()
    except OSError:
        return None
    return json.loads(said) if said.startswith(("{", "[")) else said


def open_round(token):
    """Opens a round at the gateway, in a trace that is always told of: of its id, what is random is a multiple of whatever traces.one_in is."""
    round_id = str(uuid.uuid4())
    closes_at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=1)
    body = {"round_id": round_id, "prize": "Bicycle", "total_shares": 10, "share_price": {"minor_units": 500, "currency": "EUR"}, "closes_at": closes_at.isoformat()}
    trace = f"{uuid.uuid4().hex[:18]}{0:014x}"
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json", "Idempotency-Key": round_id, "traceparent": f"00-{trace}-{uuid.uuid4().hex[:16]}-01"}
    request = urllib.request.Request("http://127.0.0.1:8080/v1/rounds", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        answer.read()


def is_measured(processes):
    """Whether all replicas of all processes are measured, by how many there are of each, and nothing else is looked for."""
    answer = ask(PROMETHEUS, "/api/v1/targets", state="active")
    targets = answer["data"]["activeTargets"] if answer else []
    found = collections.Counter((target["labels"]["job"], target["health"]) for target in targets)
    return found == {(name, "up"): count for name, count in processes.items()}


def rules():
    answer = ask(PROMETHEUS, "/api/v1/rules")
    return [rule for group in (answer["data"]["groups"] if answer else []) for rule in group["rules"]]


def is_judged():
    """Whether every rule was asked."""
    written = re.findall(r"^ *- (?:alert|record): (\S+)$", (HERE / "compose/prometheus/rules.yaml").read_text(), re.MULTILINE)
    return sorted(rule["name"] for rule in rules() if rule["health"] != "unknown") == sorted(written)


def told(alert):
    """Of which pods Alertmanager was told that an alert fires, and who is told by it."""
    alerts = ask(ALERTMANAGER, "/api/v2/alerts", active="true") or []
    return {found["labels"].get("pod"): [receiver["name"] for receiver in found["receivers"]] for found in alerts if found["labels"]["alertname"] == alert}


def query(text):
    answer = ask(PROMETHEUS, "/api/v1/query", query=text)
    return answer["data"]["result"] if answer else []


def fired():
    """Alerts that fired since Prometheus began, with how grave each is."""
    found = query('count by (alertname, severity) (count_over_time(ALERTS{alertstate="firing"}[1h]))')
    return {series["metric"]["alertname"]: series["metric"]["severity"] for series in found}


def findings(processes, spans, read):
    """What is wrong at the end of the harm. `spans`: of how many of each service the collector was told; `read`: what was read in place of Grafana."""
    if not is_measured(processes):
        yield f"not all are measured: {[(target['labels'], target['health']) for target in ask(PROMETHEUS, '/api/v1/targets')['data']['activeTargets']]}"
    failed = re.findall(r"^prometheus_rule_evaluation_failures_total\{.*\} (\S+)$", ask(PROMETHEUS, "/metrics"), re.MULTILINE)
    if len(failed) != 1 or float(failed[0]) != 0:
        yield f"rules failed so often: {failed}; {[(rule['name'], rule['lastError']) for rule in rules() if rule['health'] != 'ok']}"
    for alert, severity in fired().items():
        if severity == "page":
            yield f"{alert} woke somebody, and the fleet gets over what was done to it by itself"
    for board, (_, panels) in boards.BOARDS.items():
        for drawn in panels:
            for text, _ in drawn["queries"]:
                if not query(text.replace("$namespace", "holdfast").replace("$__rate_interval", "5m")) and not QUIET.search(text):
                    yield f"dashboard {board}: {drawn['title']!r} shows nothing: {text}"
    if set(spans) != TOLD_OF:
        yield f"the collector was told of spans of {sorted(spans)}"
    if read != {"provisioned": 2, "dashboards": sorted(boards.grafana(name)["uid"] for name in boards.BOARDS)}:
        yield f"in place of Grafana was read {read}"
