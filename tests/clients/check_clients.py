"""Do clients in other languages work as README.md says, as the broker's own users, and is every message as proto/asyncapi.json describes it?
Starts a private fleet whose broker has the users of deploy/nats, runs the page's commands in Python and Node, places some orders more, and
holds the document against AsyncAPI's schema, and all commands, answers and events against the document.

Usage: check_clients.py HOLDFAST     (HOLDFAST is the built `holdfast` command)
"""

import asyncio
import collections
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.parse

import jsonschema
import nats

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
DOCUMENT = json.loads((ROOT / "proto/asyncapi.json").read_text())
# As CloudEvents 1.0 has it: attributes are lower-case letters and digits, and these four must be there.
ATTRIBUTE, REQUIRED = re.compile("[a-z0-9]{1,20}"), {"id", "source", "specversion", "type"}
MODULES = os.environ.get("NODE_PATH", "")


def broken(document):
    """What AsyncAPI's own schema finds wrong with a document."""
    version = document["asyncapi"]
    schema = json.loads((pathlib.Path(MODULES) / f"@asyncapi/specs/schemas/{version}-without-$id.json").read_text())
    return [f"{error.json_path}: {error.message:.200}" for error in jsonschema.Draft7Validator(schema).iter_errors(document)]


def make_broker(directory):
    """Users as an operator makes them, and one without a key who may do everything: the workers, and this check."""
    broker = directory / "nats"
    broker.mkdir(parents=True)
    subprocess.run([sys.executable, "-B", ROOT / "deploy/nats/keys.py", directory / "keys"], check=True)
    shutil.copy(directory / "keys/keys.conf", broker)
    accounts = (ROOT / "deploy/nats/accounts.conf").read_text()
    (broker / "accounts.conf").write_text(accounts.replace("users: [\n", "users: [\n      { user: check, password: check }\n", 1))
    (broker / "nats-server.conf").write_text("include 'accounts.conf'\nno_auth_user: check\n")


def commands_of(language):
    """What README.md says to run."""
    page = (HERE / "README.md").read_text()
    return page.split(f"\nIn {language}:\n\n```sh\n")[1].split("```")[0]


def run_page(language, url, key):
    programs = [pathlib.Path(sys.executable).parent, pathlib.Path(os.environ.get("HOLDFAST_NODE", "/nowhere/node")).parent]
    path = os.pathsep.join([*map(str, programs), os.environ["PATH"]])
    environment = dict(os.environ, PATH=path, NATS=url, KEY=str(key))
    ran = subprocess.run(
        ["bash", "-euc", commands_of(language)], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL
    )
    if ran.returncode != 0:
        raise SystemExit(f"{language}: exit code {ran.returncode}\n{ran.stdout}{ran.stderr}")
    for words in ["placed: ", '"accepted"', "the same again: ", "refused: ", "INVALID_QUANTITY", "REMEDY_NEW_ID", "holdfast.orders.v1.OrderPaid"]:
        if words not in ran.stdout:
            raise SystemExit(f"{language}: {words} is not in\n{ran.stdout}")
    events = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
    for event in events:
        odd = [name for name in event if not ATTRIBUTE.fullmatch(name)]
        if odd or not REQUIRED <= event.keys() or event["specversion"] != "1.0":
            raise SystemExit(f"{language}: no CloudEvent: {event}")
    return len(events)


class Contract:
    """The document, as something that knows messages."""

    def __init__(self):
        self.wrong, self.seen = [], collections.Counter()
        self.channels = {}
        for channel in DOCUMENT["channels"].values():
            for name, message in channel["messages"].items():
                subject = (channel["address"] or "answer").replace("{event}", name)
                self.channels[subject] = DOCUMENT["components"]["messages"][message["$ref"].rsplit("/", 1)[1]]

    def errors(self, schema, value):
        root = {**schema, "components": DOCUMENT["components"]}
        validator = jsonschema.Draft7Validator(root, format_checker=jsonschema.Draft7Validator.FORMAT_CHECKER)
        return [f"{error.json_path}: {error.message:.200}" for error in validator.iter_errors(value)]

    def check(self, subject, headers, data):
        # Of protobuf only headers are described.
        protobuf = re.sub(r"^(evt\.\w+)\.\w+", r"\1.protobuf", subject)
        message = self.channels.get(subject) or self.channels.get(protobuf)
        if message is None:
            self.wrong.append(f"{subject}: the document has no such message")
            return
        found = self.errors(message["headers"], dict(headers))
        if "payload" in message:
            found += self.errors(message["payload"], json.loads(data))
        if subject.startswith("json.") and headers["ce-type"] != message["name"]:
            found.append(f"ce-type is {headers['ce-type']}")
        for value in headers.values():
            if not value.isascii() or urllib.parse.unquote(value, errors="strict") != urllib.parse.unquote(value):
                found.append(f"a header that is no text of CloudEvents: {value}")
        self.wrong += [f"{subject}: {error}" for error in found]
        self.seen[subject.split(".")[0]] += 1


async def watch(connection, contract):
    """Commands and answers of the page's programs, as they pass."""

    async def on_command(message):
        if message.headers.get("content-type") == "application/json":
            # One that is refused for its quantity is meant to be.
            body = json.loads(message.data)
            if all(line["quantity"] != "0" for line in body["lines"]):
                contract.check(message.subject, message.headers, message.data)

    async def on_answer(message):
        if message.headers and message.headers.get("ce-type", "").endswith(".CommandReply"):
            contract.check("answer", message.headers, message.data)

    await connection.subscribe("cmd.orders.*", cb=on_command)
    await connection.subscribe("_INBOX.shop.>", cb=on_answer)


async def read_all(connection, stream, contract):
    """Every message that a stream has now."""
    broker = connection.jetstream()
    count = (await broker.stream_info(stream)).state.messages
    consumer = await broker.pull_subscribe("", stream=stream, durable="check")
    while count > 0:
        for message in await consumer.fetch(min(count, 500), timeout=30):
            contract.check(message.subject, message.headers, message.data)
            await message.ack()
            count -= 1


async def check(holdfast, url, directory):
    fleet = [holdfast, "--dir", directory]
    contract = Contract()
    connection = await nats.connect(url)
    await watch(connection, contract)
    await connection.flush()
    for name, content in [("RegisterProduct", {"sku": "MUG-01", "name": "Mug"}), ("ReceiveStock", {"sku": "MUG-01", "quantity": 100})]:
        subprocess.run([*fleet, "send", name, json.dumps(content)], check=True, stdout=subprocess.DEVNULL)
    # With a key, and as on a broker that asks nobody who he is.
    for key in [directory / "keys/shop.nk", ""]:
        for language in ["Python", "Node"]:
            events = await asyncio.to_thread(run_page, language, url, key)
            who = "with a key" if key else "without one"
            print(f"{language}, {who}: an order was placed, answered again, and paid; one was refused; {events} events were read")
    load = [*fleet, "load", "--orders", "60", "--products", "5", "--rounds", "2", "--seed", "1"]
    await asyncio.to_thread(subprocess.run, load, check=True, stdout=subprocess.DEVNULL)
    for stream in ["EVENTS_JSON", "EVENTS"]:
        await read_all(connection, stream, contract)
    await connection.close()
    return contract


def main(holdfast):
    wrong = broken(DOCUMENT)
    if not broken({**DOCUMENT, "operations": {"x": {"action": "recieve", "channel": {"$ref": "#/channels/answers"}}}}):
        wrong.append("AsyncAPI's schema finds nothing wrong with a document that is wrong, so it proves nothing")
    with tempfile.TemporaryDirectory(prefix="holdfast-clients-") as scratch:
        # Postgres runs as another user where this is run by root.
        os.chmod(scratch, 0o755)
        directory = pathlib.Path(scratch) / "fleet"
        make_broker(directory)
        environment = dict(os.environ, HOLDFAST_BROKER_EVENTS_JSON="true")
        fleet = subprocess.Popen([holdfast, "up", "--dir", directory], stdout=subprocess.PIPE, text=True, env=environment)
        try:
            urls = []
            for line in fleet.stdout:
                urls += re.findall(r"^NATS +(\S+)$", line)
                if line.startswith("The fleet is up"):
                    break
            else:
                raise SystemExit("the fleet did not come up")
            contract = asyncio.run(check(holdfast, urls[0], directory))
            log = (directory / "nats/nats-server.log").read_text()
            wrong += contract.wrong + [line for line in log.splitlines() if "violation" in line.lower()]
        finally:
            fleet.send_signal(signal.SIGINT)
            fleet.stdout.read()
            fleet.wait()
    wrong += [f"no message of {kind} was seen" for kind in ["cmd", "answer", "json", "evt"] if not contract.seen[kind]]
    for one in wrong[:40]:
        print(f"violation: {one}")
    told = ", ".join(f"{count} {kind}" for kind, count in sorted(contract.seen.items()))
    print(f"AsyncAPI {DOCUMENT['asyncapi']}: {told} {'NOT WELL' if wrong else 'are as the document says'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
