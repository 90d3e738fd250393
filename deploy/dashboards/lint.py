"""What a dashboard must be so that whoever opens it finds his way, and Prometheus is asked only what it can answer.

The rules are those of Grafana's dashboard-linter, a program in Go, that make sense here, and some of our own. Each has ways to break a dashboard
that it must notice. Of the linter's, three are left out: its templates and matchers of `job` and `instance`, in whose place `namespace` is, for a
dashboard is about one fleet and not about one process; and its parser, for a real Prometheus parses every query when it is asked.
"""

import collections
import copy
import functools
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]

# What Prometheus adds to all that it is told, as service-monitor.yaml has it.
OF_THE_SCRAPE = {"namespace", "pod", "job", "instance"}
# What Prometheus says itself.
ITS_OWN = {"up": ("gauge", {})}
# What Grafana knows by itself.
BUILT_IN = {"__rate_interval"}
AGGREGATIONS = {"sum", "min", "max", "avg", "count", "group", "stddev", "stdvar", "quantile", "topk", "bottomk", "count_values"}
# These choose series and leave them as they are.
CHOICES = {"topk", "bottomk"}
RATES = {"rate", "increase"}
# Units, and which queries they are for: how much a second, how long, a part of a whole, anything.
UNITS = {"cps": "rate", "reqps": "rate", "s": "time", "percentunit": "share", "short": "count"}
LENGTHS = {"1h": "an hour", "1d": "a day"}
COLUMNS = 24

# One metric that a query asks for: by which matchers, over which range, and within which calls and aggregations, the outermost first; each of
# them has the labels of its `by`, or None.
Asked = collections.namedtuple("Asked", "metric matchers range within")

PIECES = re.compile(r"""
    (?P<text>"(?:[^"\\]|\\.)*")
  | (?P<number>\d[\w.]*)
  | (?P<matching>\b(?:on|ignoring|group_left|group_right)\s*\([^)]*\))
  | (?P<word>\b(?:and|or|unless|bool|offset)\b)
  | (?P<by>\w+)\s+by\s*\((?P<labels>[^)]*)\)\s*\(
  | (?P<call>\w+)\s*\(
  | (?P<metric>[A-Za-z_:][\w:]*)(?:\{(?P<matchers>[^}]*)\})?(?:\[(?P<range>[^\]]*)\])?
  | (?P<open>\()
  | (?P<close>\))
""", re.VERBOSE)
MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"')


def asked(query):
    """The metrics that a query asks for."""
    within = []
    for piece in PIECES.finditer(query):
        if piece["by"]:
            within.append((piece["by"], tuple(label.strip() for label in piece["labels"].split(",") if label.strip())))
        elif piece["call"]:
            within.append((piece["call"], () if piece["call"] in AGGREGATIONS - CHOICES else None))
        elif piece["open"]:
            within.append(("", None))
        elif piece["close"]:
            within[-1:] = []
        elif piece["metric"]:
            yield Asked(piece["metric"], tuple(MATCHER.findall(piece["matchers"] or "")), piece["range"], tuple(within))


@functools.cache
def documented():
    """Every metric of the operators' page, which a test holds against the code: its kind, and what its labels can say, nothing where that is open."""
    known = dict(ITS_OWN)
    for name, kind, labels in re.findall(r"^\| `(\w+)` \| (counter|gauge|histogram) \| ([^|]*) \|", (ROOT / "deploy/README.md").read_text(), re.MULTILINE):
        told = re.findall(r"`(\w+)`(?:: ([^;]*))?", labels)
        known[name] = (kind, {label: {value.strip() for value in values.split(",") if value.strip()} for label, values in told})
    return known


@functools.cache
def events():
    """Every event that was ever released, by the golden bytes of each."""
    return {file.stem.split("+")[0].rsplit(".", 1)[-1] for file in (ROOT / "tests/golden/v1").glob("*.json")}


def metric(one):
    """Kind and labels of what is asked for; nothing of what nobody documents."""
    base = re.sub(r"_(bucket|sum|count)$", "", one.metric)
    if base != one.metric and documented().get(base, ("",))[0] == "histogram":
        kind, labels = documented()[base]
        return ("bucket" if one.metric.endswith("_bucket") else "counter"), labels | ({"le": set()} if one.metric.endswith("_bucket") else {})
    return documented().get(one.metric, (None, {}))


def kept(one):
    """The labels that are left of it where the query ends."""
    for call, by in one.within:
        if by is not None:
            return set(by)
        if call == "histogram_quantile":
            return kept(one._replace(within=one.within[1:])) - {"le"}
    return set(metric(one)[1]) | OF_THE_SCRAPE


def call_of(one):
    """The function that takes it as it is."""
    return one.within[-1][0] if one.within else ""


def targets(board):
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            yield panel, target


def all_asked(board):
    for panel, target in targets(board):
        for one in asked(target.get("expr", "")):
            yield panel, one


# The rules. Each says what is wrong with a dashboard, of which `name` is the file.


def source(name, board):
    """The data source is the dashboard's variable, everywhere."""
    wanted = {"type": "prometheus", "uid": "${source}"}
    places = [(f"panel {panel.get('title')!r}", panel) for panel in board["panels"]] + [(f"a query of {panel.get('title')!r}", target) for panel, target in targets(board)]
    places += [(f"the variable {one['name']}", one) for one in board["templating"]["list"] if one["type"] == "query"]
    for what, place in places:
        if place.get("datasource") != wanted:
            yield f"{what} has the data source {place.get('datasource')}"


def variables(name, board):
    """Each variable is declared and used, and its values are those of a label that there is, asked for anew when the time changes."""
    declared = {one["name"]: one for one in board["templating"]["list"]}
    if [one["query"] for one in declared.values() if one["type"] == "datasource"] != ["prometheus"]:
        yield "no variable is the Prometheus"
    for one in declared.values():
        if not one.get("label"):
            yield f"the variable {one['name']} has no label"
        if one["type"] != "query":
            continue
        found = re.fullmatch(r"label_values\((\w+), (\w+)\)", one["query"])
        if not found or not metric(Asked(found[1], (), None, ()))[0] or found[2] not in OF_THE_SCRAPE | set(metric(Asked(found[1], (), None, ()))[1]):
            yield f"the variable {one['name']} has no values: {one['query']}"
        if one.get("refresh") != 2:
            yield f"the variable {one['name']} is not asked for anew"
    used = set(re.findall(r"\$\{?(\w+)", str(board))) - BUILT_IN
    yield from (f"${one} is used and not declared" for one in sorted(used - set(declared)))
    yield from (f"the variable {one} is not used" for one in sorted(set(declared) - used))


def head(name, board):
    """It has the uid of its file, a title, and says how it is read: zone, refresh, time, tags, layout; and nobody edits what a file says."""
    wanted = {"uid": f"holdfast-{name}", "timezone": "browser", "editable": False, "tags": ["holdfast"], "time": {"from": "now-3h", "to": "now"}}
    yield from (f"{key} is {board.get(key)!r}, and not {value!r}" for key, value in wanted.items() if board.get(key) != value)
    if not re.fullmatch(r"\d+[smh]", str(board.get("refresh"))):
        yield f"refresh is {board.get('refresh')!r}"
    if not isinstance(board.get("schemaVersion"), int):
        yield f"schemaVersion is {board.get('schemaVersion')!r}"
    if not str(board.get("title", "")).startswith("Holdfast: "):
        yield f"its title is {board.get('title')!r}"


def words(name, board):
    """Each panel has a title of its own, and a description that says more."""
    titles = collections.Counter(panel.get("title") for panel in board["panels"])
    yield from (f"{count} panels have the title {title!r}" for title, count in titles.items() if count > 1)
    for panel in board["panels"]:
        if not panel.get("title"):
            yield f"panel {panel['id']} has no title"
        if not panel.get("description") or panel["description"] == panel.get("title"):
            yield f"{panel.get('title')!r} has no description"


def unit(name, board):
    """Each panel has a unit, which is that of its queries."""
    for panel in board["panels"]:
        given = panel.get("fieldConfig", {}).get("defaults", {}).get("unit")
        if given not in UNITS:
            yield f"{panel['title']!r} has the unit {given!r}"
            continue
        for target in panel.get("targets", []):
            divided = re.search(r"\)\s*/\s*", target["expr"])
            for one in asked(target["expr"]):
                in_seconds = re.search(r"_seconds(_bucket|_sum)?$", one.metric)
                is_rate = call_of(one) == "rate" and not one.metric.endswith("_bucket")
                shows = "share" if divided else "rate" if is_rate else "time" if in_seconds else "count"
                if UNITS[given] != shows:
                    yield f"{panel['title']!r} has the unit {given!r}, and {one.metric} is a {shows}"


def queries(name, board):
    """Each panel asks something, and numbers its queries."""
    for panel in board["panels"]:
        names = [target.get("refId") for target in panel.get("targets", [])]
        if not names:
            yield f"{panel['title']!r} asks nothing"
        if None in names or len(set(names)) != len(names):
            yield f"{panel['title']!r} does not tell its queries apart: {names}"
        for target in panel.get("targets", []):
            if not list(asked(target.get("expr", ""))) or target["expr"].count("(") != target["expr"].count(")"):
                yield f"{panel['title']!r} has no query: {target.get('expr')!r}"


def legend(name, board):
    """Each line has a name, of labels that the query leaves."""
    for panel, target in targets(board):
        said = target.get("legendFormat", "")
        if not said or said == "__auto":
            yield f"a query of {panel['title']!r} has no legend"
        named = set(re.findall(r"\{\{\s*(\w+)\s*\}\}", said))
        for one in asked(target["expr"]):
            left = kept(one)
            if named - left:
                yield f"the legend of {panel['title']!r} names {sorted(named - left)}, of which the query leaves nothing"
            if any(by is not None for _, by in one.within) and left - named:
                yield f"the legend of {panel['title']!r} does not tell lines apart by {sorted(left - named)}"


def fleet(name, board):
    """Each query is about one fleet."""
    for panel, one in all_asked(board):
        if ("namespace", "=", "$namespace") not in one.matchers:
            yield f"{panel['title']!r} asks for {one.metric} of all namespaces"


def known(name, board):
    """Nothing is asked for that the operators' page does not have."""
    for panel, one in all_asked(board):
        if metric(one)[0] is None:
            yield f"{panel['title']!r} asks for {one.metric}, which deploy/README.md does not have"


def labels(name, board):
    """Labels are those of the metric, and say what they can say."""
    for panel, one in all_asked(board):
        has = metric(one)[1]
        grouped = {label for _, by in one.within for label in by or ()}
        for label in sorted((grouped | {label for label, _, _ in one.matchers}) - set(has) - OF_THE_SCRAPE):
            yield f"{panel['title']!r} asks for {label}, which {one.metric} does not have"
        for label, how, value in one.matchers:
            can = events() if label == "event" else has.get(label)
            for part in (value.split("|") if "~" in how else [value]) if can else []:
                if not any(re.fullmatch(part, one) for one in can):
                    yield f"{panel['title']!r} asks for {label} {part!r}, which nothing is"


def counter(name, board):
    """Of what only rises it is asked how fast, before anything is summed."""
    for panel, one in all_asked(board):
        if metric(one)[0] in ("counter", "bucket") and call_of(one) not in RATES:
            yield f"{panel['title']!r} does not ask how fast {one.metric} rises"


def gauge(name, board):
    """Of what goes up and down it is not asked how fast it rises."""
    for panel, one in all_asked(board):
        if metric(one)[0] == "gauge" and (call_of(one) in RATES | {"irate"} or one.range):
            yield f"{panel['title']!r} asks how fast {one.metric} rises, which is a gauge"


def interval(name, board):
    """A rate is taken over what Grafana finds right for its width; what is counted over another time says so."""
    for panel, one in all_asked(board):
        told = LENGTHS.get(one.range)
        if call_of(one) in RATES and one.range != "$__rate_interval" and not (call_of(one) == "increase" and told and told in panel.get("description", "")):
            yield f"{panel['title']!r} takes the {call_of(one)} of {one.metric} over [{one.range}]"


def histogram(name, board):
    """Buckets are summed by `le`, and a quantile is made of them."""
    for panel, one in all_asked(board):
        if metric(one)[0] == "bucket":
            sums = [by for _, by in one.within if by is not None]
            if (one.within or [("", None)])[0][0] != "histogram_quantile" or not all("le" in by for by in sums):
                yield f"{panel['title']!r} makes no quantile of {one.metric}"


def grid(name, board):
    """Panels are within the page, and none lies on another."""
    taken, numbers = {}, collections.Counter(panel.get("id") for panel in board["panels"])
    yield from (f"{count} panels have the id {number}" for number, count in numbers.items() if count > 1)
    for panel in board["panels"]:
        at = panel["gridPos"]
        if at["x"] < 0 or at["w"] < 1 or at["h"] < 1 or at["x"] + at["w"] > COLUMNS:
            yield f"{panel['title']!r} is not within {COLUMNS} columns"
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        for other in sorted({taken[cell] for cell in cells if cell in taken}):
            yield f"{panel['title']!r} lies on {other!r}"
        taken |= dict.fromkeys(cells, panel["title"])


RULES = [source, variables, head, words, unit, queries, legend, fleet, known, labels, counter, gauge, interval, histogram, grid]


def findings(name, board):
    """Which rule a dashboard breaks, and how."""
    for rule in RULES:
        for what in dict.fromkeys(rule(name, board)):
            yield rule, f"{name}.json: {what} ({rule.__name__}: {rule.__doc__})"


# Ways to break the dashboard of the fleet, each with the rule that must notice it.


def panel(board, title="A batch takes"):
    return next(panel for panel in board["panels"] if panel["title"] == title)


def put(place, **values):
    place.update(values)


def query(board, *changes, title="A batch takes"):
    target = panel(board, title)["targets"][0]
    for before, after in changes:
        assert before in target["expr"], (before, target["expr"])
        target["expr"] = target["expr"].replace(before, after)


WAYS = [
    (source, "a data source by its name", lambda board: put(panel(board), datasource={"type": "prometheus", "uid": "prometheus"})),
    (source, "a data source of the import dialogue", lambda board: put(panel(board)["targets"][0], datasource="${DS_PROMETHEUS}")),
    (source, "a variable of any data source", lambda board: board["templating"]["list"][1].pop("datasource")),
    (variables, "no variable for the data source", lambda board: board["templating"]["list"].pop(0)),
    (variables, "a variable that nothing uses", lambda board: board["templating"]["list"].append({"name": "pod", "label": "Pod", "type": "custom", "query": "a,b"})),
    (variables, "a variable that is not declared", lambda board: query(board, ("$namespace", "$fleet"))),
    (variables, "a variable without a name for people", lambda board: board["templating"]["list"][1].pop("label")),
    (variables, "values of a metric that there is not", lambda board: put(board["templating"]["list"][1], query="label_values(holdfast_batches_total, namespace)")),
    (variables, "values of a label that there is not", lambda board: put(board["templating"]["list"][1], query="label_values(holdfast_batch_seconds_count, cluster)")),
    (variables, "values of the time at which it was opened", lambda board: put(board["templating"]["list"][1], refresh=1)),
    (head, "no uid", lambda board: board.pop("uid")),
    (head, "another dashboard's uid", lambda board: put(board, uid="holdfast-money")),
    (head, "no zone", lambda board: board.pop("timezone")),
    (head, "no refresh", lambda board: put(board, refresh=False)),
    (head, "no tags", lambda board: put(board, tags=[])),
    (head, "no schemaVersion", lambda board: board.pop("schemaVersion")),
    (head, "no time", lambda board: board.pop("time")),
    (head, "what can be edited", lambda board: put(board, editable=True)),
    (words, "no title", lambda board: put(panel(board), title="")),
    (words, "a title twice", lambda board: put(panel(board), title="Behind")),
    (words, "no description", lambda board: panel(board).pop("description")),
    (words, "a description that repeats the title", lambda board: put(panel(board), description="A batch takes")),
    (unit, "no unit", lambda board: panel(board)["fieldConfig"]["defaults"].pop("unit")),
    (unit, "a unit that Grafana does not know", lambda board: put(panel(board)["fieldConfig"]["defaults"], unit="seconds")),
    (unit, "a count of what is a time", lambda board: put(panel(board)["fieldConfig"]["defaults"], unit="short")),
    (unit, "a count of what is a rate", lambda board: put(panel(board, "Done again, or not done yet")["fieldConfig"]["defaults"], unit="short")),
    (queries, "no query", lambda board: put(panel(board), targets=[])),
    (queries, "an empty query", lambda board: put(panel(board)["targets"][0], expr="")),
    (queries, "a query that does not end", lambda board: put(panel(board)["targets"][0], expr=panel(board)["targets"][0]["expr"][:-1])),
    (queries, "two queries by one name", lambda board: put(panel(board)["targets"][1], refId="A")),
    (legend, "no legend", lambda board: panel(board)["targets"][0].pop("legendFormat")),
    (legend, "a legend of a label that is summed away", lambda board: put(panel(board)["targets"][0], legendFormat="{{service}}")),
    (legend, "a legend that is the same for all lines", lambda board: put(panel(board, "Behind")["targets"][0], legendFormat="behind")),
    (fleet, "a query of all fleets", lambda board: query(board, ('{namespace="$namespace"}', ""))),
    (fleet, "a query of one fleet for ever", lambda board: query(board, ("$namespace", "holdfast"))),
    (known, "a metric that there is not", lambda board: query(board, ("holdfast_batch_seconds", "holdfast_batches_seconds"))),
    (known, "buckets of what is no histogram", lambda board: query(board, ("holdfast_batch_seconds", "holdfast_lag_seconds"))),
    (labels, "by a label that there is not", lambda board: query(board, ("by (le)", "by (le, service)"))),
    (labels, "a matcher of a label that there is not", lambda board: query(board, ('{namespace', '{service="orders",namespace'))),
    (labels, "a value that there is not", lambda board: put(panel(board)["targets"][0], expr='sum by () (rate(holdfast_effects_total{namespace="$namespace",ending="failed"}[$__rate_interval]))')),
    (labels, "an event that there is not", lambda board: put(panel(board)["targets"][0], expr='sum by () (rate(holdfast_events_appended_total{namespace="$namespace",event=~"OrderPaid|OrderPayed"}[$__rate_interval]))')),
    (counter, "a counter as it is", lambda board: put(panel(board, "Done again, or not done yet")["targets"][0], expr='sum by () (holdfast_conflicts_total{namespace="$namespace"})')),
    (counter, "the rate of a sum", lambda board: put(panel(board, "Done again, or not done yet")["targets"][0], expr='rate(sum by () (holdfast_conflicts_total{namespace="$namespace"})[$__rate_interval:])')),
    (counter, "a counter over time", lambda board: query(board, ("rate(", "avg_over_time("), title="Done again, or not done yet")),
    (gauge, "the rate of a gauge", lambda board: put(panel(board, "Behind")["targets"][0], expr='max by (consumer) (rate(holdfast_lag_seconds{namespace="$namespace"}[$__rate_interval]))')),
    (interval, "a rate over a fixed time", lambda board: query(board, ("$__rate_interval", "5m"))),
    (interval, "a rate over the width of a point", lambda board: query(board, ("$__rate_interval", "$__interval"))),
    (interval, "an increase over a time that nobody is told", lambda board: query(board, ("rate(holdfast_conflicts_total", "increase(holdfast_conflicts_total"), ("$__rate_interval", "1h"), title="Done again, or not done yet")),
    (histogram, "buckets without a quantile", lambda board: query(board, ("histogram_quantile(0.5, sum by (le) (", "(sum by (le) ("))),
    (histogram, "a quantile without its limits", lambda board: query(board, ("by (le)", "by ()"))),
    (grid, "a panel on another", lambda board: put(panel(board)["gridPos"], y=0)),
    (grid, "a panel beside the page", lambda board: put(panel(board)["gridPos"], x=16)),
    (grid, "a panel without height", lambda board: put(panel(board)["gridPos"], h=0)),
    (grid, "an id twice", lambda board: put(panel(board), id=1)),
]


def unnoticed(board):
    """The ways to break the dashboard of the fleet that the rule for it does not notice, and rules that no way is for."""
    for rule, what, broken in WAYS:
        copied = copy.deepcopy(board)
        broken(copied)
        if rule not in {found for found, _ in findings("fleet", copied)}:
            yield f"the rule {rule.__name__} does not notice {what}"
    yield from (f"nothing tries the rule {rule.__name__}" for rule in RULES if rule not in {tried for tried, _, _ in WAYS})
