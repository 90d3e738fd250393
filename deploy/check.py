"""Are the manifests below k8s/ what a cluster would take, and what deploy/README.md promises? And is compose.yaml (compose_check.py)?

Builds each kustomization, holds every object against the strict schema of its kind, and then against rules of our own. lint.py asks the linters of others.

Usage: check.py              says what is wrong; exit code 1 if anything is
       check.py --mutations  breaks a copy in every way that mutations.toml lists: is each noticed, and for the right reason?
"""

import concurrent.futures
import functools
import ipaddress
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib

import jsonschema
import kubernetes_validate
import yaml

import compose_check
import lint

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
KUBECTL = os.environ.get("HOLDFAST_KUBECTL", "kubectl")
PROMTOOL = os.environ.get("HOLDFAST_PROMTOOL") or shutil.which("promtool")
# The oldest Kubernetes that knows a native `sleep` of preStop without a feature gate, and the newest that there are schemas of.
SCHEMAS = ["1.34", "1.37"]
OVERLAYS = ["small", "production", "autoscaled", "autoscaled-hpa"]
BUILT = {**{overlay: f"overlays/{overlay}" for overlay in OVERLAYS}, "migrations": "migrations", "shards": "replay/shards", "merge": "replay/merge"}
# What no overlay has is built with one that it is made for.
ADDED = {"autoscaled-hpa-lag": ("overlays/autoscaled-hpa", "components/autoscaling-hpa-lag")}
SPARE_S = 5

DEFAULTS = tomllib.loads((ROOT / "services/platform/holdfast.toml").read_text())
SETTINGS = {f"HOLDFAST_{section}_{key}".upper(): value for section, keys in DEFAULTS.items() for key, value in keys.items()}
# What processes read from the environment that is no setting.
OTHER_VARIABLES = {"HOLDFAST_CONFIG"}
# How many batch loops, each with a pool and a place as the relay, one process has.
LOOPS = {"holdfast-all-in-one": 4}

# Deployments that have no user of the broker.
WITHOUT_BROKER = {"traces"}

# Whose user of the broker may do what the relay does.
RELAYS = {"orders", "all-in-one"}

# Who may reach whom, as component -> peers and ports. Whatever is not here must be closed.
DNS = {"dns:53", "dns:53/UDP"}
EVERY_WORKER = DNS | {"postgres:5432", "nats:4222"}
MAY_REACH = {
    "orders": EVERY_WORKER,
    "inventory": EVERY_WORKER,
    "rounds": EVERY_WORKER,
    "payments": EVERY_WORKER | {"internet:443"},
    "all-in-one": EVERY_WORKER | {"internet:443"},
    "gateway": EVERY_WORKER | {"internet:443"},
    "migrate": DNS | {"postgres:5432"},
    "verify": DNS | {"postgres:5432"},
    "replay": DNS | {"postgres:5432"},
    "merge": DNS,
    "traces": DNS | {"postgres:5432", "monitoring:4318"},
}
MAY_BE_REACHED = {
    **{worker: {"monitoring:9090"} for worker in ["orders", "inventory", "rounds", "payments", "all-in-one"]},
    "gateway": {"ingress:8080", "monitoring:9090"},
    "migrate": set(),
    "verify": set(),
    "replay": set(),
    "merge": set(),
    "traces": {"monitoring:9090"},
}
# Of TCP, unless they say otherwise.
PORTS = ["22", "53", "53/UDP", "80", "443", "4222", "4318", "5432", "6443", "8080", "8222", "9090"]
# Peers outside the namespace: its name, and the labels of the pod; or an address.
PEERS = {
    "dns": ("kube-system", {"k8s-app": "kube-dns"}),
    "kubernetes": ("kube-system", {"component": "kube-apiserver"}),
    "postgres": ("postgres", {}),
    "nats": ("nats", {}),
    "monitoring": ("monitoring", {}),
    "ingress": ("ingress", {}),
    "stranger": ("default", {}),
    "internet": ipaddress.ip_address("203.0.113.7"),
    "private": ipaddress.ip_address("10.1.2.3"),
    "metadata": ipaddress.ip_address("169.254.169.254"),
}

# Which process a figure is of, for whoever counts them.
IS_CALLED = {"sourceLabels": ["__meta_kubernetes_pod_label_app_kubernetes_io_component"], "targetLabel": "job"}


def build(directory):
    """The objects of a kustomization, and what was wrong with it."""
    built = subprocess.run([KUBECTL, "kustomize", str(directory)], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if built.returncode != 0:
        return [], [f"kustomize: {built.stderr.strip()}"]
    return parsed(built.stdout), []


@functools.cache
def parsed(text):
    """The objects of a text. In a mutation most kustomizations are as they were."""
    return [document for document in yaml.load_all(text, Loader=yaml.CSafeLoader) if document]


def build_with(overlay, component):
    """The same of an overlay with one more component."""
    with tempfile.TemporaryDirectory() as directory:
        parts = {key: [os.path.relpath(part.resolve(), pathlib.Path(directory).resolve())] for key, part in [("resources", overlay), ("components", component)]}
        (pathlib.Path(directory) / "kustomization.yaml").write_text(yaml.safe_dump(parts))
        return build(directory)


def name_of(thing):
    return f"{thing['kind']} {thing['metadata']['name']}"


def closed(schema):
    """A schema of a CRD that lets no field pass that it does not name."""
    if not isinstance(schema, dict):
        return schema
    schema = {key: {name: closed(part) for name, part in value.items()} if key == "properties" else closed(value) for key, value in schema.items()}
    if "properties" in schema and "additionalProperties" not in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        schema["additionalProperties"] = False
    return schema


@functools.cache
def schemas_of_others():
    """The schemas of schemas/, by version and kind."""
    found = {}
    for path in (HERE / "schemas").glob("*.yaml"):
        spec = yaml.safe_load(path.read_text())["spec"]
        for version in spec["versions"]:
            schema = closed(version["schema"]["openAPIV3Schema"])
            # Kubernetes itself says what metadata is.
            schema["properties"]["metadata"] = {"type": "object"}
            found[f"{spec['group']}/{version['name']}", spec["names"]["kind"]] = schema
    return found


@functools.cache
def schema_finding(text, version):
    """What is first wrong with an object. Most objects are in several overlays, and in most mutations as they were."""
    thing = json.loads(text)
    schema = schemas_of_others().get((thing["apiVersion"], thing["kind"]))
    if schema:
        error = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schema).iter_errors(thing))
        return error and f"schema: {'.'.join(map(str, error.path))}: {error.message}"
    try:
        kubernetes_validate.validate(thing, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return f"schema of {version}: {'.'.join(map(str, error.path))}: {error.message}"
    except (kubernetes_validate.SchemaNotFoundError, kubernetes_validate.InvalidSchemaError) as error:
        return f"no schema of {version}: {error}"
    return None


def schema_findings(things):
    for thing in things:
        for version in SCHEMAS:
            finding = schema_finding(json.dumps(thing, sort_keys=True), version)
            if finding:
                yield f"{name_of(thing)}: {finding}"


def of_kind(things, *kinds):
    return [thing for thing in things if thing["kind"] in kinds]


def pod_of(workload):
    spec = workload["spec"]
    return spec["jobTemplate"]["spec"]["template"] if workload["kind"] == "CronJob" else spec["template"]


def component_of(labels):
    return labels.get("app.kubernetes.io/component")


def selects(selector, labels):
    unknown = set(selector) - {"matchLabels"}
    if unknown:
        raise ValueError(f"this check knows no {unknown} of a selector")
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


def environment(container, things):
    """The variables that a container gets, from maps and from itself. A map that is not there is a finding."""
    maps = {thing["metadata"]["name"]: thing.get("data", {}) for thing in of_kind(things, "ConfigMap")}
    variables, findings = {}, []
    for source in container.get("envFrom", []):
        name = source.get("configMapRef", {}).get("name")
        if name not in maps:
            findings.append(f"takes its settings from {source}, which is not there")
        variables |= maps.get(name, {})
    for variable in container.get("env", []):
        if "value" not in variable:
            findings.append(f"{variable['name']} is no plain value: secrets are files")
        variables[variable["name"]] = variable.get("value", "")
    return variables, findings


def setting_findings(variables):
    for name, value in variables.items():
        if name in OTHER_VARIABLES:
            continue
        if name not in SETTINGS:
            yield f"{name} is no setting of holdfast.toml"
            continue
        default = SETTINGS[name]
        if isinstance(default, bool) and value not in ("true", "false"):
            yield f"{name} must be true or false, not {value!r}"
        if isinstance(default, int) and not isinstance(default, bool) and not re.fullmatch(r"-?\d+", value):
            yield f"{name} must be a whole number, not {value!r}"


def setting(variables, name):
    return variables.get(name, str(SETTINGS[name]))


def user_findings(component, variables):
    """Of its own user of the broker: nats/accounts.conf."""
    accounts = (HERE / "nats/accounts.conf").read_text()
    if f"$KEY_{component.upper().replace('-', '_')}\n" not in accounts:
        yield f"nats/accounts.conf has no user {component}"
    prefix = setting(variables, "HOLDFAST_BROKER_INBOX_PREFIX")
    if prefix != f"_INBOX.{component}":
        yield f"answers come to {prefix}, where its user of the broker may not listen"
    runs = setting(variables, "HOLDFAST_RELAY_RUNS").lower() == "true"
    if component != "gateway" and runs != (component in RELAYS):
        yield f"relay.runs is {str(runs).lower()}, and only the user of orders may do what the relay does"


def probe_findings(container, variables):
    ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
    host, _, listens = setting(variables, "HOLDFAST_HTTP_ADDRESS").rpartition(":")
    if host != "0.0.0.0":
        yield f"http.address is at {host}, where no kubelet reaches it"
    for probe, path in [("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")]:
        asks = container.get(probe, {}).get("httpGet")
        if asks is None:
            yield f"has no {probe}"
            continue
        if asks["path"] != path:
            yield f"{probe} asks {asks['path']}, not {path}"
        if str(ports.get(asks["port"])) != listens:
            yield f"{probe} asks at port {asks['port']}, and http.address is at {listens}"
    startup = container.get("startupProbe", {})
    if startup.get("periodSeconds", 10) * startup.get("failureThreshold", 3) < 60:
        yield "startupProbe gives it less than a minute"


def security_findings(pod, container):
    context = {**pod.get("securityContext", {}), **container.get("securityContext", {})}
    wanted = {"runAsNonRoot": True, "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True}
    for key, value in wanted.items():
        if context.get(key) is not value:
            yield f"securityContext.{key} must be {str(value).lower()}"
    if not context.get("runAsUser"):
        yield "securityContext.runAsUser must be a number, and not 0"
    if context.get("capabilities", {}).get("drop") != ["ALL"] or context["capabilities"].get("add"):
        yield "securityContext.capabilities must drop ALL and add none"
    if context.get("seccompProfile") != {"type": "RuntimeDefault"}:
        yield "securityContext.seccompProfile must be RuntimeDefault"
    if pod.get("automountServiceAccountToken") is not False:
        yield "automountServiceAccountToken must be false"
    for key in ["hostNetwork", "hostPID", "hostIPC"]:
        if pod.get(key):
            yield f"{key} must not be"
    for volume in pod.get("volumes", []):
        if "hostPath" in volume:
            yield f"volume {volume['name']} is of the host"
        if "secret" in volume and volume["secret"].get("defaultMode", 0o644) & 0o007:
            yield f"volume {volume['name']} can be read by all"


def container_findings(workload, container, things):
    pod = pod_of(workload)["spec"]
    variables, findings = environment(container, things)
    yield from findings
    yield from setting_findings(variables)
    yield from security_findings(pod, container)
    resources = container.get("resources", {})
    for kind, what in [("requests", "cpu"), ("requests", "memory"), ("limits", "memory")]:
        if what not in resources.get(kind, {}):
            yield f"resources.{kind}.{what} is missing"
    image = container["image"]
    if not re.search(r"@sha256:[0-9a-f]{64}$", image) and not re.search(r":\d+\.\d+\.\d+[\w.-]*$", image):
        yield f"image {image} has neither a version nor a digest"
    programs = re.search(r"^COPY (holdfast .*) /usr/local/bin/$", (HERE / "image/Dockerfile").read_text(), re.MULTILINE)[1].split()
    if container.get("command") or container.get("args", [""])[0] not in programs:
        yield f"runs {container.get('command')} {container.get('args')}, and the image has {', '.join(programs)}"
    if workload["kind"] == "Deployment":
        component = component_of(pod_of(workload)["metadata"]["labels"])
        if component not in WITHOUT_BROKER:
            yield from user_findings(component, variables)
        yield from probe_findings(container, variables)
        pause = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        needed = pause + int(setting(variables, "HOLDFAST_PROCESS_DRAIN_MS")) / 1000 + SPARE_S
        given = pod.get("terminationGracePeriodSeconds", 30)
        if given < needed:
            yield f"terminationGracePeriodSeconds is {given}, and preStop, drain and spare need {needed:g}"
        if component == "gateway" and pause < 5:
            yield "the gateway stops listening at once: preStop must sleep for 5 seconds"


def shard_findings(job, things):
    """Whether the pods of a job make all parts of one answer, each once, and whether they find the place for them."""
    spec = job["spec"]
    for container in pod_of(job)["spec"]["containers"]:
        options = dict(arg.removeprefix("--").partition("=")[::2] for arg in container["args"] if arg.startswith("--"))
        if "shard" not in options and spec.get("completionMode") != "Indexed":
            continue
        if spec.get("completionMode") != "Indexed" or options.get("shard") != f"$(JOB_COMPLETION_INDEX)/{spec.get('completions')}":
            yield f"makes {options.get('shard')} of {spec.get('completions')} parts, completionMode {spec.get('completionMode')}: each needs its own"
        if "$(JOB_COMPLETION_INDEX)" not in options.get("out", ""):
            yield f"writes all parts to {options.get('out')}"
        if "at" not in options:
            yield "is of no moment (--at): each part would end where the log does by then"
    claims = {thing["metadata"]["name"]: thing["spec"]["accessModes"] for thing in of_kind(things, "PersistentVolumeClaim")}
    for volume in pod_of(job)["spec"].get("volumes", []):
        claim = volume.get("persistentVolumeClaim", {}).get("claimName")
        if claim and claims.get(claim) != ["ReadWriteMany"]:
            yield f"volume {claim} is not there, or not for pods on many nodes"


def workload_findings(workload, things):
    labels = pod_of(workload)["metadata"]["labels"]
    policies = [policy for policy in of_kind(things, "NetworkPolicy") if policy["spec"]["podSelector"]]
    if not any(selects(policy["spec"]["podSelector"], labels) for policy in policies):
        yield "no NetworkPolicy of its own"
    if workload["kind"] == "Job":
        yield from shard_findings(workload, things)
    if workload["kind"] != "Deployment":
        return
    if workload["spec"]["selector"]["matchLabels"] != labels:
        yield "its selector is not the labels of its pods"
    budgets = [budget for budget in of_kind(things, "PodDisruptionBudget") if selects(budget["spec"]["selector"], labels)]
    if [budget["spec"].get("maxUnavailable") for budget in budgets] != [1]:
        yield "needs one PodDisruptionBudget, with maxUnavailable 1: any other stops a node from being drained, or nothing"
    spread = pod_of(workload)["spec"].get("topologySpreadConstraints", [])
    if not any(constraint["labelSelector"].get("matchLabels") == labels for constraint in spread):
        yield "its pods are not spread over nodes"


def fleet_findings(things):
    """What is said of all together."""
    deployments = of_kind(things, "Deployment")
    labels = [pod_of(workload)["metadata"]["labels"] for workload in of_kind(things, "Deployment", "Job", "CronJob")]
    namespaces = of_kind(things, "Namespace")
    if [namespace["metadata"]["labels"].get("pod-security.kubernetes.io/enforce") for namespace in namespaces] != ["restricted"]:
        yield "one Namespace is needed, with pod security restricted"
    for thing in things:
        if thing["kind"] != "Namespace" and thing["metadata"].get("namespace") != "holdfast":
            yield f"{name_of(thing)} is not in the namespace holdfast"
        if thing["kind"] == "Secret":
            yield f"{name_of(thing)}: secrets are not kept here"
    for service in of_kind(things, "Service"):
        found = [workload for workload in deployments if selects({"matchLabels": service["spec"]["selector"]}, pod_of(workload)["metadata"]["labels"])]
        ports = {port["name"] for workload in found for container in pod_of(workload)["spec"]["containers"] for port in container.get("ports", [])}
        for port in service["spec"]["ports"]:
            if port["targetPort"] not in ports:
                yield f"{name_of(service)}: nobody listens at {port['targetPort']}"
    for policy in of_kind(things, "NetworkPolicy"):
        if not any(selects(policy["spec"]["podSelector"], pod) for pod in labels):
            yield f"{name_of(policy)} is of no pod"


def port_of(entry):
    if set(entry) - {"protocol", "port"}:
        raise ValueError(f"this check knows no {set(entry)} of a port")
    return f"{entry['port']}" + ("" if entry.get("protocol", "TCP") == "TCP" else f"/{entry['protocol']}")


def allows(peers, peer, port, rule_ports):
    if rule_ports is not None and port not in map(port_of, rule_ports):
        return False
    if peers is None:
        return True
    for entry in peers:
        if isinstance(peer, (ipaddress.IPv4Address, ipaddress.IPv6Address)):
            block = entry.get("ipBlock")
            if block and peer in ipaddress.ip_network(block["cidr"]):
                if not any(peer in ipaddress.ip_network(part) for part in block.get("except", [])):
                    return True
            continue
        namespace, labels = peer
        if "ipBlock" in entry:
            continue
        of_namespace = selects(entry["namespaceSelector"], {"kubernetes.io/metadata.name": namespace}) if "namespaceSelector" in entry else namespace == "holdfast"
        if of_namespace and selects(entry.get("podSelector", {}), labels):
            return True
    return False


def open_to(direction, labels, peer, port, policies):
    """Whether the policies of a pod let this through, as Kubernetes adds them up; without any, all is open."""
    mine = [policy["spec"] for policy in policies if selects(policy["spec"]["podSelector"], labels)]
    mine = [spec for spec in mine if direction in spec["policyTypes"]]
    side, key = ("egress", "to") if direction == "Egress" else ("ingress", "from")
    rules = [rule for spec in mine for rule in spec.get(side, [])]
    return not mine or any(allows(rule.get(key), peer, port, rule.get("ports")) for rule in rules)


def reachability(things):
    """All pairs of a pod of ours with a peer, a port and a direction: what is open, and what should be."""
    policies = of_kind(things, "NetworkPolicy")
    pods = [pod_of(workload)["metadata"]["labels"] for workload in of_kind(things, "Deployment", "Job", "CronJob")]
    peers = PEERS | {component_of(labels): ("holdfast", labels) for labels in pods}
    for labels in pods:
        component = component_of(labels)
        for direction, table in [("Egress", MAY_REACH), ("Ingress", MAY_BE_REACHED)]:
            for peer, port in [(peer, port) for peer in peers for port in PORTS]:
                if direction == "Ingress" and not isinstance(peers[peer], tuple):
                    continue
                is_open = open_to(direction, labels, peers[peer], port, policies)
                yield component, direction, peer, port, is_open, f"{peer}:{port}" in table[component]


def reachability_findings(things):
    for component, direction, peer, port, is_open, may in reachability(things):
        if is_open != may:
            arrow = f"{component} -> {peer}:{port}" if direction == "Egress" else f"{peer} -> {component}:{port}"
            yield f"{arrow} is {'open' if is_open else 'closed'}, and must not be"


def bounds(scaler):
    """The least and the most replicas that it chooses."""
    spec = scaler["spec"]
    if scaler["kind"] == "ScaledObject":
        return spec.get("minReplicaCount", 0), spec.get("maxReplicaCount", 100)
    return spec.get("minReplicas", 1), spec.get("maxReplicas", 100)


def scaled(workload, things):
    """The bounds of whatever scales it."""
    scalers = of_kind(things, "ScaledObject", "HorizontalPodAutoscaler")
    return [bounds(scaler) for scaler in scalers if scaler["spec"]["scaleTargetRef"]["name"] == workload["metadata"]["name"]]


def replicas_max(workload, things):
    return max([most for _, most in scaled(workload, things)], default=workload["spec"].get("replicas", 1))


def sessions(things):
    """Who connects to Postgres: how many pods there may be, one more of each while it is replaced, and the most connections of one."""
    yield "the migration", 1, 1
    for job in of_kind(things, "CronJob"):
        yield job["metadata"]["name"], 1, 1
    for workload in of_kind(things, "Deployment"):
        container = pod_of(workload)["spec"]["containers"][0]
        pool = int(setting(environment(container, things)[0], "HOLDFAST_DATABASE_CONNECTIONS_MAX"))
        surge = workload["spec"].get("strategy", {}).get("rollingUpdate", {}).get("maxSurge", 1)
        yield workload["metadata"]["name"], replicas_max(workload, things) + surge, LOOPS.get(container["args"][0], 1) * (pool + 1)


def connections(things):
    """The most connections to Postgres."""
    return sum(pods * each for _, pods, each in sessions(things))


def overlay_findings(overlay, things):
    allowed = of_kind(things, "Namespace")[0]["metadata"].get("annotations", {}).get("holdfast/postgres-connections", "0")
    needed = connections(things)
    if needed > int(allowed):
        yield f"opens up to {needed} connections, and Postgres allows {allowed} (holdfast/postgres-connections)"
    least = lambda workload: min([least for least, _ in scaled(workload, things)], default=workload["spec"].get("replicas", 1))
    replicas = {workload["metadata"]["name"]: least(workload) for workload in of_kind(things, "Deployment")}
    workers = ["all-in-one"] if overlay == "small" else ["orders", "inventory", "rounds", "payments"]
    count = 1 if overlay == "small" else 2
    wanted = {f"holdfast-{part}": count for part in [*workers, "gateway"]}
    if overlay == "autoscaled":
        wanted["holdfast-traces"] = 1
    if replicas != wanted:
        yield f"runs {replicas}, not {wanted}"


@functools.cache
def metrics():
    """The names of all metrics, from the code."""
    names = {"up"}
    for path in (ROOT / "services").rglob("*.rs"):
        names |= set(re.findall(r'const \w+: &str = "(holdfast_\w+)"', path.read_text()))
    return names


def query_findings(query):
    """Whether it asks for figures of this namespace that there are. What is recorded by a rule, or is of kube-state-metrics, is not looked at."""
    for name in set(re.findall(r"\bholdfast_\w+", query)):
        if name not in metrics() and re.sub(r"_(bucket|count|sum)$", "", name) not in metrics():
            yield f"there is no metric {name}"
    for name, labels in re.findall(r"\b((?:holdfast|kube)_\w+|up)\b({[^}]*})?", query):
        if 'namespace="holdfast"' not in labels:
            yield f"{name} is asked of all namespaces"
    for bound in re.findall(r'\ble="(\d+)"', query):
        yield f"le {bound} is {bound}.0 to Prometheus 3"


def targets_of(scaler, things):
    return [thing for thing in of_kind(things, "Deployment") if thing["metadata"]["name"] == scaler["spec"]["scaleTargetRef"]["name"]]


def target_findings(scaler, things):
    """Of whatever scales a Deployment."""
    name, targets = name_of(scaler), targets_of(scaler, things)
    if len(targets) != 1:
        yield f"{name}: there is no Deployment {scaler['spec']['scaleTargetRef']['name']}"
    for target in targets:
        if "replicas" in target["spec"]:
            yield f"{name}: replicas of {name_of(target)} would be set back with each apply"
        if len(scaled(target, things)) > 1:
            yield f"{name}: {name_of(target)} is scaled by somebody else too, and each would undo what the other does"
    if bounds(scaler)[0] < 2:
        yield f"{name}: a worker that runs once is away while it is replaced"


def scaling_findings(things):
    for scaler in of_kind(things, "ScaledObject"):
        spec, name = scaler["spec"], name_of(scaler)
        yield from target_findings(scaler, things)
        if spec.get("fallback", {}).get("behavior") != "currentReplicasIfHigher":
            yield f"{name}: without figures it must keep what runs"
        for trigger in spec["triggers"]:
            metadata = trigger["metadata"]
            if metadata.get("ignoreNullValues") != "false":
                yield f"{name}: no answer must not count as 0 (ignoreNullValues)"
            service = spec["scaleTargetRef"]["name"].removeprefix("holdfast-")
            if f'service="{service}"' not in metadata["query"]:
                yield f"{name}: asks how far another service is behind"
            yield from (f"{name}: {finding}" for finding in query_findings(metadata["query"]))


def processors(quantity):
    return float(quantity.removesuffix("m")) / (1000 if quantity.endswith("m") else 1)


def pod_scaling_findings(things):
    """Of Kubernetes's own way to scale."""
    for scaler in of_kind(things, "HorizontalPodAutoscaler"):
        spec, name = scaler["spec"], name_of(scaler)
        yield from target_findings(scaler, things)
        if (spec["scaleTargetRef"].get("apiVersion"), spec["scaleTargetRef"]["kind"]) != ("apps/v1", "Deployment"):
            yield f"{name}: scales {spec['scaleTargetRef']}, which is no Deployment"
        down = spec.get("behavior", {}).get("scaleDown", {})
        if down.get("stabilizationWindowSeconds", 300) < 600 or [(policy["type"], policy["value"]) for policy in down.get("policies", [])] != [("Pods", 1)]:
            yield f"{name}: goes down by more than one at a time, or before ten minutes are over"
        by_processor = [metric["resource"]["target"] for metric in spec.get("metrics", []) if metric.get("resource", {}).get("name") == "cpu"]
        if not by_processor:
            yield f"{name}: does not go by the processor, the one figure that needs no adapter"
        for target in targets_of(scaler, things):
            threads = int(setting(environment(pod_of(target)["spec"]["containers"][0], things)[0], "HOLDFAST_PROCESS_THREADS"))
            for wanted in by_processor:
                if processors(wanted.get("averageValue", "inf")) >= threads:
                    yield f"{name}: no worker of {threads} threads uses {wanted}, so it would never be scaled up"
        for metric in [metric["external"]["metric"] for metric in spec.get("metrics", []) if metric["type"] == "External"]:
            if metric["name"] not in metrics():
                yield f"{name}: there is no metric {metric['name']}"
            if metric.get("selector", {}).get("matchLabels") != {"service": spec["scaleTargetRef"]["name"].removeprefix("holdfast-")}:
                yield f"{name}: asks how far another service is behind"


def alternative_findings(directory, built):
    """KEDA or Kubernetes itself: between the same numbers. And does adapter.yaml answer what is asked there?"""
    scaler_kinds = ["ScaledObject", "HorizontalPodAutoscaler"]
    chosen = {name: {thing["spec"]["scaleTargetRef"]["name"]: bounds(thing) for thing in of_kind(built[name], *scaler_kinds)} for name in ["autoscaled", *ADDED]}
    for name in ADDED:
        if chosen[name] != chosen["autoscaled"]:
            yield f"{name} scales between {chosen[name]}, and KEDA between {chosen['autoscaled']}"
        asked = {metric["external"]["metric"]["name"] for scaler in of_kind(built[name], "HorizontalPodAutoscaler")
                 for metric in scaler["spec"].get("metrics", []) if metric["type"] == "External"}
        adapter = yaml.safe_load((directory / ADDED[name][1] / "adapter.yaml").read_text())
        queries = [rule["seriesQuery"] for rule in adapter["rules"]["external"]]
        yield from (f"adapter.yaml: {finding}" for query in queries for finding in query_findings(query))
        if asked != {query.partition("{")[0] for query in queries}:
            yield f"adapter.yaml answers {queries}, and {sorted(asked)} is asked"


def monitor_findings(things):
    for monitor in of_kind(things, "ServiceMonitor"):
        services = [thing for thing in of_kind(things, "Service") if selects(monitor["spec"]["selector"], thing["metadata"]["labels"])]
        if len(services) != 1:
            yield f"{name_of(monitor)} finds {len(services)} services, not 1"
            continue
        of_pods = [pod_of(workload)["metadata"]["labels"] for workload in of_kind(things, "Deployment")]
        if not all(selects({"matchLabels": services[0]["spec"]["selector"]}, labels) for labels in of_pods):
            yield f"{name_of(services[0])} leaves a Deployment out"
        for endpoint in monitor["spec"]["endpoints"]:
            if endpoint.get("port") not in [port["name"] for port in services[0]["spec"]["ports"]]:
                yield f"{name_of(monitor)}: {name_of(services[0])} has no port {endpoint.get('port')}"
            if endpoint.get("honorLabels") is not True:
                yield f"{name_of(monitor)}: the name of the Service would take the place of our label service (honorLabels)"
            if IS_CALLED not in endpoint.get("relabelings", []):
                yield f"{name_of(monitor)}: all processes would have the Service's name (the label job)"


def heading_anchors():
    headings = re.findall(r"^#+ (.*)$", (HERE / "README.md").read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@functools.cache
def tried_alerts():
    return {test["name"] for test in yaml.load((HERE / "alerts.test.yaml").read_text(), Loader=yaml.CSafeLoader)["tests"]}


def alert_findings(things):
    for rules in of_kind(things, "PrometheusRule"):
        for rule in [rule for group in rules["spec"]["groups"] for rule in group["rules"]]:
            name = rule.get("alert", rule.get("record"))
            yield from (f"{name}: {finding}" for finding in query_findings(rule["expr"]))
            if "alert" not in rule:
                continue
            if rule.get("labels", {}).get("severity") not in ("page", "ticket"):
                yield f"{name}: is somebody woken, or not? (severity)"
            page, _, anchor = rule["annotations"].get("runbook", "").partition("#")
            if page != "deploy/README.md" or anchor not in heading_anchors():
                yield f"{name}: there is no page {page}#{anchor}"
            for how in ["is quiet", "fires", "fires the first time"]:
                if f"{name} {how}" not in tried_alerts():
                    yield f"{name}: no test that it {how}"
        if PROMTOOL:
            yield from promtool_findings(json.dumps(rules["spec"]))


@functools.cache
def promtool_findings(text):
    """What promtool says of rules and their tests. Annotations are for people, and the tests do not repeat them."""
    spec = json.loads(text)
    with tempfile.TemporaryDirectory() as directory:
        work = pathlib.Path(directory)
        whole = work / "whole.yaml"
        whole.write_text(yaml.safe_dump(spec))
        for group in spec["groups"]:
            for rule in group["rules"]:
                rule.pop("annotations", None)
        (work / "rules.yaml").write_text(yaml.safe_dump(spec))
        shutil.copy(HERE / "alerts.test.yaml", work)
        said = []
        for command in [["check", "rules", str(whole)], ["test", "rules", str(work / "alerts.test.yaml")]]:
            ran = subprocess.run([PROMTOOL, *command], capture_output=True, text=True, stdin=subprocess.DEVNULL)
            if ran.returncode != 0:
                said.append("promtool: " + " ".join((ran.stderr + ran.stdout).split())[:400])
        return said


def findings_of(overlay, things):
    yield from schema_findings(things)
    for workload in of_kind(things, "Deployment", "Job", "StatefulSet", "DaemonSet", "CronJob"):
        if workload["kind"] not in ("Deployment", "Job", "CronJob"):
            yield f"{name_of(workload)}: this check knows no such workload"
            continue
        for finding in workload_findings(workload, things):
            yield f"{name_of(workload)}: {finding}"
        pod = pod_of(workload)["spec"]
        for container in pod["containers"] + pod.get("initContainers", []):
            for finding in container_findings(workload, container, things):
                yield f"{name_of(workload)}: container {container['name']}: {finding}"
    yield from fleet_findings(things)
    yield from scaling_findings(things)
    yield from pod_scaling_findings(things)
    yield from monitor_findings(things)
    yield from alert_findings(things)
    yield from reachability_findings(things)
    if overlay in OVERLAYS:
        yield from overlay_findings(overlay, things)


def release_findings(built):
    """One version everywhere, and in the name of the job."""
    images = {container["image"] for things in built.values() for workload in of_kind(things, "Deployment", "Job", "CronJob") for container in pod_of(workload)["spec"]["containers"]}
    if len(images) != 1:
        yield f"more than one image: {sorted(images)}"
    version = re.search(r":(\d[\w.-]*)", next(iter(images), ""))
    for job in of_kind(built["migrations"], "Job"):
        if version and not job["metadata"]["name"].endswith("-" + version[1].replace(".", "-")):
            yield f"{name_of(job)} is not named by its release, {version[1]}: a job that is there cannot be changed"


def secrets_of(things):
    return {volume["secret"]["secretName"] for workload in of_kind(things, "Deployment", "Job", "CronJob")
            for volume in pod_of(workload)["spec"].get("volumes", []) if "secret" in volume}


def page_findings(built):
    """Does the page for operators say what the manifests are?"""
    page = (HERE / "README.md").read_text()
    commands = "\n".join(re.findall(r"^```sh\n(.*?)^```", page, re.MULTILINE | re.DOTALL))
    for path in re.findall(r"deploy/[\w./-]+", commands):
        if not (ROOT / path).exists() and not path.startswith("deploy/secrets"):
            yield f"README.md: {path} is not there"
    for path in re.findall(r"kubectl apply -k (\S+)", commands):
        if not (ROOT / path / "kustomization.yaml").exists():
            yield f"README.md: {path} is no kustomization"
    jobs = {f"job/{job['metadata']['name']}" for things in built.values() for job in of_kind(things, "Job")}
    if set(re.findall(r"job/\S+", commands)) != jobs:
        yield f"README.md: waits for other jobs than {sorted(jobs)}"
    versions = {container["image"].rpartition(":")[2] for job in of_kind(built["migrations"], "Job") for container in pod_of(job)["spec"]["containers"]}
    if set(re.findall(r"--tag holdfast:(\S+)", commands)) != versions:
        yield f"README.md: builds another version than {versions}"
    deployments = {f"deployment/{thing['metadata']['name']}" for things in built.values() for thing in of_kind(things, "Deployment")}
    for deployment in set(re.findall(r"deployment/\S+", commands)) - deployments:
        yield f"README.md: there is no {deployment}"
    listed = {name for row in re.findall(r"^\| (`holdfast-.*?) \|", page, re.MULTILINE) for name in re.findall(r"`(holdfast-[\w-]+)`", row)}
    needed = set().union(*map(secrets_of, built.values()))
    if listed != needed:
        yield f"README.md: lists the secrets {sorted(listed)}, and {sorted(needed)} are read"
    made = {f"holdfast-{name}" for name in re.search(r"^for name in (.*); do$", commands, re.MULTILINE)[1].split()}
    if made != secrets_of(built["production"]) | secrets_of(built["migrations"]):
        yield f"README.md: makes the secrets {sorted(made)}, which are not those of production"
    for overlay in OVERLAYS:
        if not re.search(rf"^\| \[{overlay}\]\(.*\| {connections(built[overlay])} \|$", page, re.MULTILINE):
            yield f"README.md: {overlay} opens up to {connections(built[overlay])} connections"


def judge(directory, built, well):
    """All that is wrong with the kustomizations below a directory, as it is found. They are built as it goes; those that are as one that is well are not judged again."""
    is_whole = True
    for name in [*BUILT, *ADDED]:
        if name in BUILT:
            built[name], wrong = build(directory / BUILT[name])
        else:
            built[name], wrong = build_with(*(directory / part for part in ADDED[name]))
        is_whole = is_whole and not wrong
        yield from (f"{name}: {finding}" for finding in wrong)
        if wrong or built[name] == well.get(name):
            continue
        try:
            yield from [f"{name}: {finding}" for finding in findings_of(name, built[name])]
        except (KeyError, IndexError, TypeError, ValueError) as error:
            # What the schema has refused need not have the form that a rule looks for.
            yield from (f"{name}: {finding}" for finding in schema_findings(built[name]))
            yield f"{name}: cannot be judged: {error!r}"
    if is_whole:
        yield from alternative_findings(directory, built)
        yield from release_findings(built)
        yield from page_findings(built)
        yield from compose_findings(directory)


def compose_findings(directory):
    """What is wrong with what compose.yaml is, beside a directory of kustomizations."""
    return [f"compose: {finding}" for finding in compose_check.findings(directory.parent, setting_findings)]


def try_mutation(well, mutation):
    """What the check says of a copy with one place changed, where what is unchanged is well."""
    with tempfile.TemporaryDirectory() as directory:
        copy = pathlib.Path(directory) / "k8s"
        for name in ["k8s", "compose"]:
            shutil.copytree(HERE / name, copy.parent / name)
        shutil.copy(HERE / "compose.yaml", copy.parent)
        shutil.copytree(HERE / "image", copy.parent / "image")
        path = copy / mutation["file"]
        text = path.read_text()
        if text.count(mutation["before"]) != 1:
            return False, f"its place is {text.count(mutation['before'])} times in {mutation['file']}"
        path.write_text(text.replace(mutation["before"], mutation["after"]))
        if mutation.get("needs") in lint.TOOLS:
            findings = lint.findings([mutation["needs"]], copy.parent / "image/Dockerfile", {"production": build(copy / BUILT["production"])[0]})
        elif mutation["file"].startswith("../"):
            # What is outside of k8s/ changes no manifest.
            findings = compose_findings(copy)
        else:
            findings = judge(copy, {}, well)
        said = []
        for finding in findings:
            if mutation["finds"] in finding:
                return True, finding
            said.append(finding)
        return False, f"nobody says {mutation['finds']!r}: {said}"


def mutations(well):
    table = tomllib.loads((HERE / "mutations.toml").read_text())["mutation"]
    for tool in lint.not_tried() + ([] if PROMTOOL else ["promtool"]):
        left_out = [mutation["name"] for mutation in table if mutation.get("needs") == tool]
        table = [mutation for mutation in table if mutation.get("needs") != tool]
        print(f"deploy: NOT TRIED, for there is no {tool}: {'; '.join(left_out)}")
    with concurrent.futures.ProcessPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(functools.partial(try_mutation, well), table))
    for mutation, (is_found, said) in zip(table, results):
        print(f"{'found ' if is_found else 'MISSED'}  {mutation['name']}: {said[:200]}")
    missed = sum(not is_found for is_found, _ in results)
    print(f"deploy: {len(table) - missed} of {len(table)} mutations found")
    return 1 if missed or not table else 0


def print_table(heads, rows):
    for cells in [heads, ["---"] * len(heads), *rows]:
        print(f"| {' | '.join(map(str, cells))} |")
    print()


def print_tables(built):
    """What an operator reads who does not read manifests: who reaches whom, who opens how many sessions, and what wakes him."""
    pairs = [pair for things in built.values() for pair in reachability(things)]
    listed = lambda component, way: ", ".join(sorted({f"{peer}:{port}" for of, direction, peer, port, is_open, _ in pairs if (of, direction, is_open) == (component, way, True)})) or "nobody"
    print_table(["pod", "reaches", "is reached by, at its port"], [(of, listed(of, "Egress"), listed(of, "Ingress")) for of in sorted({pair[0] for pair in pairs})])
    rows = [(overlay, who, pods, each, pods * each) for overlay in OVERLAYS for who, pods, each in sessions(built[overlay])]
    print_table(["overlay", "who connects to Postgres", "pods at most", "sessions each", "in all"], rows)
    rules = [rule for rules in of_kind(built["autoscaled"], "PrometheusRule") for group in rules["spec"]["groups"] for rule in group["rules"] if "alert" in rule]
    how = "quiet, fires, fires the first time" if PROMTOOL else "NOT TRIED, for there is no promtool"
    print_table(["alert", "severity", "page", "tried"], [(rule["alert"], rule["labels"]["severity"], rule["annotations"]["runbook"], how) for rule in rules])


def main():
    built = {}
    findings = list(judge(HERE / "k8s", built, {}))
    findings += lint.findings(lint.TOOLS, HERE / "image/Dockerfile", built)
    for finding in findings:
        print(f"deploy: {finding}")
    if findings:
        return 1
    print_tables(built)
    for name, things in built.items():
        pairs = list(reachability(things))
        line = f"deploy: {name}: {len(things)} objects; {sum(pair[4] for pair in pairs)} of {len(pairs)} ways are open, as listed"
        print(line + (f"; at most {connections(things)} connections to Postgres" if name in OVERLAYS else ""))
    alerts = [rule for rules in of_kind(built["autoscaled"], "PrometheusRule") for group in rules["spec"]["groups"] for rule in group["rules"] if "alert" in rule]
    print(f"deploy: {len(alerts)} alerts" + (", each tried three times by promtool" if PROMTOOL else ": NOT TRIED, for there is no promtool"))
    for tool in lint.TOOLS:
        print(f"deploy: {tool}: " + ("NOT TRIED, for there is none" if tool in lint.not_tried() else "says nothing that is not meant to be"))
    print("deploy: compose.yaml is as it must be" + ("" if PROMTOOL else "; its Prometheus NOT TRIED, for there is no promtool"))
    print(f"deploy: secrets to make: {', '.join(sorted(set().union(*map(secrets_of, built.values()))))}")
    return mutations(built) if "--mutations" in sys.argv[1:] else 0


if __name__ == "__main__":
    sys.exit(main())
