"""Is compose.yaml what deploy/README.md promises, and is its fleet watched as it is in Kubernetes? Rules of check.py, which calls this."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

import yaml

import credentials
import rules

HERE = pathlib.Path(__file__).resolve().parent
sys.path.append(str(HERE / "dashboards"))
import boards

PROMTOOL = os.environ.get("HOLDFAST_PROMTOOL") or shutil.which("promtool")
# Others' servers that start as root, or write where they are.
NOT_CONFINED = {"postgres", "nats-0", "nats-1", "nats-2", "roles"}
SECRETS = "${HOLDFAST_SECRETS:-./secrets}/"
USER = "${HOLDFAST_USER:-65532}"
# What Grafana must be told, for it does otherwise by itself.
GRAFANA_SETTINGS = {
    "GF_AUTH_ANONYMOUS_ENABLED": "false",
    "GF_USERS_ALLOW_SIGN_UP": "false",
    "GF_ANALYTICS_REPORTING_ENABLED": "false",
    "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
    "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES": "false",
    "GF_PLUGINS_PREINSTALL_DISABLED": "true",
}


def read(deploy, path):
    return yaml.safe_load((deploy / path).read_text())


def mounts(service):
    """What of this machine is where in a container."""
    return {at: source for source, _, at in (volume.removesuffix(":ro").rpartition(":") for volume in service.get("volumes", []))}


def program(service):
    """Which program of ours a service runs for ever, if any."""
    name = service.get("command", [""])[0]
    return name if name.startswith("holdfast-") else None


def image_findings(service):
    image = re.sub(r"^\$\{HOLDFAST_[A-Z]+_IMAGE:-(.*)\}$", r"\1", service["image"])
    if not re.search(r":v?\d+(\.\d+)+$|^postgres:\d+$", image):
        yield f"image {service['image']} has no version"
    if image == service["image"] and not image.startswith("holdfast:"):
        yield f"image {image} cannot be had from elsewhere (${{HOLDFAST_…_IMAGE:-{image}}})"


def service_findings(name, service):
    """Of one container: what it may do, and who reaches it."""
    yield from image_findings(service)
    if service.get("security_opt") != ["no-new-privileges:true"]:
        yield "security_opt must be no-new-privileges"
    if name not in NOT_CONFINED:
        if service.get("read_only") is not True:
            yield "read_only must be true"
        if service.get("cap_drop") != ["ALL"] or service.get("cap_add"):
            yield "cap_drop must be ALL, and none added"
    for port in service.get("ports", []):
        if not re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port):
            yield f"port {port} is open to other machines"
    for at, source in mounts(service).items():
        if not source.startswith(SECRETS):
            continue
        if service.get("user") != USER and name not in NOT_CONFINED:
            yield f"nobody but {USER} may read its secrets, and it runs as {service.get('user')}"
        if program(service) and source != f"{SECRETS}{program(service)}":
            yield f"{program(service)} reads the secrets {source}"


def part_findings(parts, names, what):
    yield from (f"there is no {what} {name}" for name in names if name not in parts)


def fleet_findings(deploy, services, setting_findings):
    """Settings of processes; and that the collector listens where holdfast-traces tells it."""
    for name, service in services.items():
        variables = {key: re.sub(r"^\$\{\w+:-(.*)\}$", r"\1", value) for key, value in service.get("environment", {}).items() if key.startswith("HOLDFAST_")}
        yield from (f"{name}: {finding}" for finding in setting_findings(variables))
    collector = read(deploy, "compose/otel-collector/config.yaml")
    listens = collector["receivers"]["otlp"]["protocols"]["http"]["endpoint"].rpartition(":")[2]
    told = services["traces"]["environment"]["HOLDFAST_TRACES_URL"]
    if told != f"http://otel-collector:{listens}/v1/traces":
        yield f"traces: tells {told}, and the collector listens at {listens}"
    pipeline = collector["service"]["pipelines"]["traces"]
    for part in ["receiver", "exporter"]:
        parts = f"{part}s"
        yield from (f"otel-collector: {finding}" for finding in part_findings(collector[parts], pipeline[parts], part))
    for name in ["traces", "otel-collector"]:
        if services[name].get("profiles") != ["traces"]:
            yield f"{name} must be of the profile traces"
    if not {"watching", "default"} <= set(services["traces"].get("networks", [])):
        yield "traces must reach both Postgres and the collector"


def relabelled(config, name, address):
    """The labels of a process at an address, as relabelling makes them."""
    labels = {"job": config["job_name"], "__meta_dns_name": name, "__address__": address}
    for step in config["relabel_configs"]:
        value = step.get("separator", ";").join(labels.get(label, "") for label in step.get("source_labels", []))
        found = re.fullmatch(step.get("regex", "(.*)"), value)
        if found:
            labels[step["target_label"]] = re.sub(r"\$(\d)", lambda group: found[int(group[1])], step.get("replacement", "$1"))
    return {key: value for key, value in labels.items() if not key.startswith("__")}


def scrape_findings(deploy, services):
    """Is every process measured, and labelled as the ServiceMonitor does it?"""
    config = read(deploy, "compose/prometheus/prometheus.yaml")
    monitor = read(deploy, "k8s/components/monitoring/service-monitor.yaml")["spec"]["endpoints"][0]
    namespace = read(deploy, "k8s/namespace/namespace.yaml")["metadata"]["name"]
    [scrape] = config["scrape_configs"]
    [found] = scrape["dns_sd_configs"]
    processes = {name for name, service in services.items() if program(service)}
    for name in sorted(processes ^ set(found["names"])):
        yield f"does not measure {name}" if name in processes else f"measures {name}, which is no process"
    listens = re.search(r"HOLDFAST_HTTP_ADDRESS=0\.0\.0\.0:(\d+)", (HERE / "image/Dockerfile").read_text())[1]
    if found["type"] != "A" or str(found["port"]) != listens:
        yield f"looks for {found['type']} and port {found['port']}, and processes answer at {listens}"
    if scrape.get("honor_labels") is not monitor.get("honorLabels"):
        yield "its own labels would take the place of ours (honor_labels)"
    if (scrape.get("metrics_path", "/metrics"), config["global"]["scrape_interval"]) != (monitor["path"], monitor["interval"]):
        yield "measures otherwise than the ServiceMonitor"
    labels = relabelled(scrape, "orders", "172.18.0.9:9090")
    if labels != {"namespace": namespace, "job": "orders", "pod": "orders-172.18.0.9"}:
        yield f"gives a process the labels {labels}"
    [told] = config["alerting"]["alertmanagers"]
    if told["static_configs"] != [{"targets": ["alertmanager:9093"]}]:
        yield f"tells {told['static_configs']}, and not Alertmanager"
    if not {"watching", "default"} <= set(services["prometheus"].get("networks", [])):
        yield "must reach both the processes and Alertmanager"


def rule_findings(deploy):
    """Are the rules those of Kubernetes, and does Prometheus take all of it?"""
    made = deploy / rules.WRITTEN_TO
    spec = read(deploy, rules.MADE_OF)["spec"]
    if made.read_text() != rules.text(deploy) or yaml.safe_load(made.read_text()) != spec:
        yield f"{rules.WRITTEN_TO} is not what rules.py makes; run python3 deploy/rules.py"
    for rule in [rule for group in spec["groups"] for rule in group["rules"]]:
        if re.search(r"\babsent\w*\(\s*kube_", rule["expr"]):
            yield f"{rule.get('alert', rule.get('record'))} fires where there is no Kubernetes"
    if PROMTOOL:
        ran = subprocess.run([PROMTOOL, "check", "config", str(deploy / "compose/prometheus/prometheus.yaml")], capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if ran.returncode != 0:
            yield "promtool: " + " ".join((ran.stderr + ran.stdout).split())[:400]


def routed(route, severity):
    """Who is told of what is so severe."""
    for below in route.get("routes", []):
        if below.get("matchers") == [f'severity="{severity}"']:
            return routed(below, severity)
    return route["receiver"]


def alertmanager_findings(deploy):
    config = read(deploy, "compose/alertmanager/alertmanager.yaml")
    severities = {rule["labels"]["severity"] for group in read(deploy, rules.MADE_OF)["spec"]["groups"] for rule in group["rules"] if "severity" in rule.get("labels", {})}
    for severity in sorted(severities):
        told = routed(config["route"], severity)
        if told != severity:
            yield f"{severity} goes to {told}"
    yield from part_findings([receiver["name"] for receiver in config["receivers"]], sorted(severities), "receiver")


def grafana_findings(deploy, services):
    """Do the dashboards come, and do they find their figures? Grafana itself is not asked, for there is none to be had."""
    service = services["grafana"]
    environment = service["environment"]
    for key, value in GRAFANA_SETTINGS.items():
        if environment.get(key) != value:
            yield f"{key} must be {value}"
    password = environment.get("GF_SECURITY_ADMIN_PASSWORD__FILE", "")
    source = mounts(service).get(str(pathlib.PurePath(password).parent))
    if source != f"{SECRETS}grafana" or pathlib.PurePath("grafana", pathlib.PurePath(password).name) != pathlib.PurePath(credentials.GRAFANA):
        yield f"its password is {password} of {source}, and credentials.py writes {credentials.GRAFANA}"
    provisioning = mounts(service).get("/etc/grafana/provisioning", "nowhere")
    [asked] = read(deploy, f"{provisioning}/datasources/prometheus.yaml")["datasources"]
    interval = read(deploy, "compose/prometheus/prometheus.yaml")["global"]["scrape_interval"]
    wanted = {"type": "prometheus", "access": "proxy", "url": "http://prometheus:9090", "isDefault": True, "jsonData": {"timeInterval": interval}}
    for key, value in wanted.items():
        if asked.get(key) != value:
            yield f"its data source has {key} {asked.get(key)}, not {value}"
    [provider] = read(deploy, f"{provisioning}/dashboards/holdfast.yaml")["providers"]
    place = deploy / mounts(service).get(provider["options"]["path"], "nowhere")
    there = {path.name for path in place.glob("*.json")}
    if provider["type"] != "file" or there != {f"{name}.json" for name in boards.BOARDS}:
        yield f"there are {len(there)} dashboards at {provider['options']['path']}, and boards.py has {len(boards.BOARDS)}"
    for name in boards.BOARDS:
        if f"{name}.json" in there and (place / f"{name}.json").read_text() != boards.text(name):
            yield f"{name}.json is not what boards.py makes; run python3 deploy/dashboards/boards.py"


def page_findings(services):
    """Does the page for operators start profiles that there are, and all of them?"""
    page = (HERE / "README.md").read_text()
    started = set(re.findall(r"--profile (\w+)", page))
    profiles = {profile for service in services.values() for profile in service.get("profiles", [])} - {"tools"}
    if started != profiles:
        yield f"README.md starts the profiles {sorted(started)}, and there are {sorted(profiles)}"


def findings(deploy, setting_findings):
    """All that is wrong with compose.yaml and compose/ of a directory. `setting_findings` judges variables of processes."""
    services = read(deploy, "compose.yaml")["services"]
    try:
        for name, service in services.items():
            yield from (f"{name}: {finding}" for finding in service_findings(name, service))
        yield from fleet_findings(deploy, services, setting_findings)
        yield from (f"prometheus: {finding}" for finding in scrape_findings(deploy, services))
        yield from rule_findings(deploy)
        yield from (f"alertmanager: {finding}" for finding in alertmanager_findings(deploy))
        yield from (f"grafana: {finding}" for finding in grafana_findings(deploy, services))
        yield from page_findings(services)
    except (KeyError, IndexError, TypeError, ValueError, OSError) as error:
        # What has another form than a rule looks for.
        yield f"cannot be judged: {error!r}"
