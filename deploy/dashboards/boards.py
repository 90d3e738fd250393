"""The dashboards, from which the files for Grafana are made: which questions each answers, and by which queries.

Usage: boards.py     writes them to k8s/components/monitoring/dashboards, and the tables of README.md
"""

import hashlib
import json
import pathlib

HERE = pathlib.Path(__file__).resolve().parent
WRITTEN_TO = HERE.parent / "k8s/components/monitoring/dashboards"
README = HERE / "README.md"

# What each query is limited to, and over how long a rate is taken.
WHERE = 'namespace="$namespace"'
OVER = "$__rate_interval"


def rate(metric, by="", where=""):
    """How much a second, by these labels."""
    return f"sum by ({by}) (rate({metric}{{{','.join(part for part in [WHERE, where] if part)}}}[{OVER}]))"


def most(metric, by="", where=""):
    """The most of all processes, by these labels."""
    return f"max by ({by}) ({metric}{{{','.join(part for part in [WHERE, where] if part)}}})"


def quantile(share, histogram, by=""):
    """Below what so many stay, of a histogram."""
    labels = ", ".join(label for label in ["le", by] if label)
    return f"histogram_quantile({share}, sum by ({labels}) (rate({histogram}_bucket{{{WHERE}}}[{OVER}])))"


def events(*names):
    """How many of these events a second."""
    return rate("holdfast_events_appended_total", "event", f'event=~"{"|".join(names)}"')


def panel(title, unit, what, *queries):
    """A picture of queries, each with what its lines are called."""
    return {"type": "timeseries", "title": title, "unit": unit, "what": what, "queries": queries}


def numbers(title, unit, what, *queries):
    """What queries say now."""
    return panel(title, unit, what, *queries) | {"type": "stat"}


BOARDS = {
    "fleet": (
        "Holdfast: fleet",
        [
            panel(
                "Findings", "short", "Of `holdfast diagnose`, as the gateway sees them",
                (most("holdfast_findings", "code") + " > 0", "{{code}}"), (most("holdfast_findings_unknown"), "could not be looked at"),
            ),
            panel("Processes", "short", "How many answer, by what they are", (f"sum by (job) (up{{{WHERE}}})", "{{job}}")),
            panel(
                "Behind", "s", "Age of the oldest message that waits for each consumer. An alert fires above 30 s",
                (most("holdfast_lag_seconds", "consumer"), "{{consumer}}"),
            ),
            panel("Messages that wait", "short", "By consumer", (most("holdfast_lag_messages", "consumer"), "{{consumer}}")),
            panel(
                "A batch takes", "s", "From taking it up to its commit",
                (quantile(0.5, "holdfast_batch_seconds"), "half"), (quantile(0.99, "holdfast_batch_seconds"), "99 of 100"),
            ),
            panel(
                "In a batch", "short", "Messages, timers and outcomes of calls; one alone is a fleet that idles, 500 one that is full",
                (quantile(0.5, "holdfast_batch_inputs"), "half"), (quantile(0.99, "holdfast_batch_inputs"), "99 of 100"),
            ),
            panel(
                "Done again, or not done yet", "cps", "Batches whose rows another replica had changed, and messages that take so long that the broker is told",
                (rate("holdfast_conflicts_total"), "done again"), (rate("holdfast_progress_told_total"), "still being worked on"),
            ),
            panel(
                "Timers late", "s", "From when an order is due to when it is taken up: 99 of 100",
                (quantile(0.99, "holdfast_timer_lateness_seconds", "service"), "{{service}}"),
            ),
            panel("Clocks", "s", "How far each is ahead of Postgres's", (f"holdfast_clock_skew_seconds{{{WHERE}}}", "{{pod}}")),
        ],
    ),
    "saga": (
        "Holdfast: orders and holds",
        [
            panel(
                "Orders", "cps", "What becomes of them",
                (events("OrderPlaced", "OrderReserved", "OrderPaid", "OrderRejected", "OrderCancelled", "OrderExpired"), "{{event}}"),
            ),
            numbers(
                "Paid of placed", "percentunit", "Over an hour",
                (
                    f'sum(increase(holdfast_events_appended_total{{{WHERE},event="OrderPaid"}}[1h])) '
                    f'/ sum(increase(holdfast_events_appended_total{{{WHERE},event="OrderPlaced"}}[1h]))',
                    "paid",
                ),
            ),
            panel("Stock", "cps", "What is held, sold and given back", (events("StockHeld", "StockCommitted", "StockReleased", "StockRejected", "StockReturned"), "{{event}}")),
            panel("Shares", "cps", "What is held, sold and given back", (events("Shares.*", "Round.*"), "{{event}}")),
            panel("Refused", "cps", "Commands, by code: slips of senders", (rate("holdfast_slips_total", "code"), "{{code}}")),
            panel(
                "Dead letters", "cps", "Messages that nobody can handle, by service. A person must look",
                (rate("holdfast_dead_letters_total", "service"), "{{service}}"),
            ),
        ],
    ),
    "money": (
        "Holdfast: money",
        [
            panel("Payments", "cps", "What becomes of them", (events("PaymentRequested", "PaymentAuthorised", "PaymentSucceeded", "PaymentDeclined", "PaymentFailed", "PaymentVoided"), "{{event}}")),
            panel(
                "Refunds", "cps", "Each that is asked for ends as refunded, rejected, or at a person",
                (events("RefundRequested", "RefundSubmitted", "PaymentRefunded", "RefundRejected", "RefundOutcomeUnknown", "RefundReversed"), "{{event}}"),
            ),
            panel("Disputes", "cps", "And what they take and give back", (events("PaymentDisputed", "Dispute.*"), "{{event}}")),
            panel("Calls to providers", "cps", "By how they ended", (rate("holdfast_effects_total", "ending"), "{{ending}}")),
            numbers(
                "Calls that stand still", "short", "Until a person has seen to whoever refuses how he is asked",
                (most("holdfast_calls_stopped", "service, by"), "{{service}} by {{by}}"),
            ),
            numbers("Waits for a person", "short", "By service and kind", (most("holdfast_waiting_for_people", "service, what"), "{{service}} {{what}}")),
            panel("Webhooks", "cps", "By what became of them", (rate("holdfast_gateway_webhooks_total", "outcome"), "{{outcome}}")),
            panel(
                "Reports that were not delivered", "cps", "And were found by asking the provider",
                (rate("holdfast_payments_missed_reports_total", "provider"), "{{provider}}"),
            ),
        ],
    ),
    "gateway": (
        "Holdfast: gateway and mail",
        [
            panel("Requests", "reqps", "By status", (rate("holdfast_gateway_requests_total", "status"), "{{status}}")),
            panel("Busiest routes", "reqps", "The first ten", (f"topk(10, {rate('holdfast_gateway_requests_total', 'route')})", "{{route}}")),
            panel("A request takes", "s", "99 of 100, by route", (quantile(0.99, "holdfast_gateway_request_seconds", "route"), "{{route}}")),
            panel("Mail", "short", "By where it stands, but for what was sent", (most("holdfast_mails", "state"), "{{state}}")),
            panel("Mail handed over", "cps", "By what became of it", (rate("holdfast_mail_handed_total", "outcome"), "{{outcome}}")),
        ],
    ),
    "log": (
        "Holdfast: log and broker",
        [
            panel("Events", "cps", "Appended to the log", (rate("holdfast_events_appended_total"), "events")),
            panel("Published", "short", "Every event up to this position", (most("holdfast_relay_position"), "position")),
            panel("Relay", "short", "Which process it is: exactly one", (f"holdfast_relay_active{{{WHERE}}}", "{{pod}}")),
            panel("Waits at a gap", "s", "For a transaction that has drawn positions and stays open", (most("holdfast_relay_gap_seconds"), "waiting")),
            panel(
                "Made good", "cps", "Events that no worker could publish, and losses of the broker",
                (rate("holdfast_relay_swept_total"), "published by the relay"), (rate("holdfast_relay_losses_total"), "losses found"),
            ),
        ],
    ),
}


# What Grafana draws each with, beside the queries.
LINES = {"legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []}, "tooltip": {"mode": "multi", "sort": "desc"}}
NUMBERS = {
    "reduceOptions": {"calcs": ["lastNotNull"]}, "textMode": "value_and_name", "colorMode": "none", "graphMode": "area",
    "justifyMode": "auto", "orientation": "auto",
}


def place(number, of):
    """Where a panel is: two beside each other, and one that is alone has the whole row."""
    alone = number == of - 1 and number % 2 == 0
    return {"h": 8, "w": 24 if alone else 12, "x": number % 2 * 12, "y": number // 2 * 8}


def grafana(name):
    """A dashboard as Grafana has it."""
    title, panels = BOARDS[name]
    source = {"type": "prometheus", "uid": "${source}"}
    drawn = []
    for number, picture in enumerate(panels):
        targets = [
            {"refId": chr(ord("A") + at), "datasource": source, "expr": query, "legendFormat": legend, "range": True}
            for at, (query, legend) in enumerate(picture["queries"])
        ]
        drawn.append({
            "id": number + 1,
            "type": picture["type"],
            "title": picture["title"],
            "description": picture["what"],
            "datasource": source,
            "gridPos": place(number, len(panels)),
            "fieldConfig": {"defaults": {"unit": picture["unit"], "min": None if picture["title"] == "Clocks" else 0}, "overrides": []},
            "options": LINES if picture["type"] == "timeseries" else NUMBERS,
            "targets": targets,
        })
    variables = [
        {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"},
        {"name": "namespace", "label": "Namespace", "type": "query", "datasource": source, "query": "label_values(holdfast_batch_seconds_count, namespace)", "refresh": 2},
    ]
    return {
        "uid": f"holdfast-{name}",
        "title": title,
        "tags": ["holdfast"],
        "schemaVersion": 39,
        "editable": False,
        "timezone": "browser",
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": variables},
        "panels": drawn,
    }


def text(name):
    """The file of a dashboard."""
    return json.dumps(grafana(name), indent=1, ensure_ascii=False) + "\n"


def table(name):
    """A dashboard's part of the page: its picture, and what each query of it shows."""
    title, panels = BOARDS[name]
    lines = [f"## {title}", "", f"![{title.replace(':', ',')}: what a Prometheus answered to the queries below]({name}.svg)", "", "| panel | what it shows | query |", "|---|---|---|"]
    for picture in panels:
        for at, (query, legend) in enumerate(picture["queries"]):
            what = picture["what"] if len(picture["queries"]) == 1 else f"{picture['what']}: {legend}"
            shown = query.replace("|", "\\|")
            lines.append(f"| {picture['title']} | {what} | `{shown}` |")
    return "\n".join(lines) + "\n"


def drawn_from(name):
    """What a picture of a dashboard follows from, beside what was measured."""
    return hashlib.sha256(json.dumps(BOARDS[name]).encode()).hexdigest()[:16]


def page():
    """The page as it should be: what comes before its first dashboard is written by hand."""
    by_hand = README.read_text().split("\n## ")[0].rstrip()
    return "\n\n".join([by_hand, *(table(name).rstrip() for name in BOARDS)]) + "\n"


if __name__ == "__main__":
    WRITTEN_TO.mkdir(exist_ok=True)
    for name in BOARDS:
        (WRITTEN_TO / f"{name}.json").write_text(text(name))
    README.write_text(page())
