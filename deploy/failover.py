"""Has another Postgres lead, by Patroni and etcd, while orders are placed through the gateway: does the fleet go on, and is nothing lost?

Runs one etcd, three members of a cluster of Postgres, an address that leads to whoever leads, a nats-server, two of each worker, and the gateway, all of
them on 127.0.0.1 and in a directory that goes away. The leader is killed with SIGKILL, asked to hand over, cut off from its replicas and then killed, and
frozen until another leads. No process of the fleet may exit or need a restart, every order has to end as it must, `holdfast verify` has to be content, and
nobody may have written to the leader that was frozen.

Run it as `./justw failover-check`, which brings etcd and a Python with Patroni. As root, etcd and Postgres run as the user postgres.

Usage: failover.py DIRECTORY [LOGS]    the directory of the programs that were built; one that gets all logs
Exit codes: 0 it held, 1 it did not, 3 this machine cannot run it.
"""

import asyncio
import collections
import concurrent.futures
import hashlib
import http.client
import json
import os
import pathlib
import pwd
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

from shop import Caller, Shop, not_as_told, run, until

PROGRAMS = ["holdfast", *(f"holdfast-{name}" for name in ["gateway", "inventory", "orders", "payments", "rounds"])]
POSTGRES_PROGRAMS = ["initdb", "pg_basebackup", "pg_controldata", "pg_ctl", "pg_isready", "pg_rewind", "postgres", "psql"]
WORKERS = ["orders", "inventory", "rounds", "payments"]
MEMBERS = 3
BUYERS = 8
CUT_OFF_S = 2
SETTINGS = {
    # A leader that is not heard of for so long is one no more. Patroni takes nothing below 20, and no loop_wait + 2 * retry_timeout above it.
    "ttl": 20,
    "loop_wait": 2,
    "retry_timeout": 3,
    # What is acknowledged is on a second member, and only such a one may lead. Were it not, what the last leader had acknowledged could be gone: the
    # broker would have events that the log lacks, and all workers would stop with DATABASE_BEHIND_BROKER until somebody decides.
    "synchronous_mode": True,
    "postgresql": {
        # A leader that died comes back as a replica, without what it wrote and nobody else has.
        "use_pg_rewind": True,
        "parameters": {"max_connections": 150, "wal_log_hints": "on", "shared_buffers": "128MB", "max_wal_size": "2GB"},
    },
}
# The address asks each member so often whether it leads, waits so long for the answer, and believes a no that it hears twice, as HAProxy does.
ASK_EVERY_S, ANSWERS_WITHIN_S, FALL = 1, 2, 2
# What a superuser makes before the first migration, and a table to write to at members that may not take it.
MADE = [
    "create role holdfast_owner login createrole",
    "grant pg_read_all_stats to holdfast_owner",
    "create database holdfast owner holdfast_owner",
    "create table attempts (at_member text)",
]


def other_user():
    """Whom Postgres runs as, for it refuses to run as root."""
    if os.getuid() != 0:
        return None
    users = {user.pw_name: user for user in pwd.getpwall()}
    return users.get("postgres") or users.get("nobody")


def as_other_user():
    user = other_user()
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}


def postgres_programs():
    named = os.environ.get("HOLDFAST_POSTGRES_BIN")
    found = shutil.which("postgres")
    places = [os.path.dirname(os.path.realpath(found))] if found else []
    places += [f"/usr/lib/postgresql/{major}/bin" for major in [18, 17, 16, 15]]
    places = [named] if named else places
    return next((pathlib.Path(place) for place in places if os.path.exists(f"{place}/postgres")), None)


def nats_server():
    return os.environ.get("HOLDFAST_NATS_SERVER") or shutil.which("nats-server")


def cannot(programs):
    """Why this machine cannot run it."""
    if os.getuid() == 0 and other_user() is None:
        yield "Postgres does not run as root, and there is neither a user postgres nor a user nobody"
        return
    yield from (f"there is no {programs / program}" for program in PROGRAMS if not (programs / program).exists())
    servers = {"etcd": shutil.which("etcd"), "nats-server": nats_server(), "Postgres": postgres_programs()}
    yield from (f"there is no {name}" for name, found in servers.items() if not found)
    if postgres_programs():
        yield from (f"{postgres_programs()} has no {program}" for program in POSTGRES_PROGRAMS if not (postgres_programs() / program).exists())
    imports = [sys.executable, "-c", "import etcd, patroni, psycopg"]
    try:
        found = subprocess.run(imports, cwd=tempfile.gettempdir(), capture_output=True, check=False, **as_other_user()).returncode == 0
    except OSError:
        found = False
    if not found:
        yield f"{sys.executable} has no Patroni that whoever runs Postgres reaches in {tempfile.gettempdir()}"


def free_ports(count):
    """Ports that nobody listens at, and that no connection begins from: a member that is started again finds its own free."""
    found = set()
    while len(found) < count:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tried.bind(("127.0.0.1", port))
                found.add(port)
            except OSError:
                pass
    return list(found)


def environment(**more):
    """Nothing of what this shell says to Postgres, Patroni or Holdfast."""
    told = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "PATRONI_", "ETCD_", "HOLDFAST_"))}
    return told | {"LC_ALL": "C"} | more


def start(logs, name, command, **more):
    with open(logs / f"{name}.log", "a") as log:
        return subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, **more)


def with_descendants(roots):
    """These processes and all that they have started."""
    children = collections.defaultdict(list)
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            children[int(stat.read_text().rpartition(")")[2].split()[1])].append(int(stat.parent.name))
        except OSError:
            pass
    found, left = set(), list(roots)
    while left:
        pid = left.pop()
        found.add(pid)
        left += children[pid]
    return found


def send(pids, number):
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


class Member:
    """A machine of the cluster: a Patroni and its Postgres."""

    def __init__(self, work, number, ports, etcd):
        self.name, self.etcd, self.patroni, self.logs = f"postgres-{number}", etcd, None, work / "logs"
        self.rest, self.port = ports
        self.place = work / self.name
        self.data = self.place / "data"
        self.place.mkdir()
        if other_user():
            os.chown(self.place, other_user().pw_uid, other_user().pw_gid)
        (self.place / "patroni.json").write_text(json.dumps(self.settings()))

    def settings(self):
        everybody = ["local all all trust", "host all all 127.0.0.1/32 trust", "host replication all 127.0.0.1/32 trust"]
        postgres = {
            "listen": f"127.0.0.1:{self.port}",
            "connect_address": f"127.0.0.1:{self.port}",
            "data_dir": str(self.data),
            "bin_dir": str(postgres_programs()),
            "pgpass": str(self.place / "pgpass"),
            "authentication": {"superuser": {"username": "postgres"}, "replication": {"username": "postgres"}, "rewind": {"username": "postgres"}},
            "parameters": {"unix_socket_directories": str(self.place)},
            "pg_hba": everybody,
        }
        return {
            "scope": "holdfast",
            "name": self.name,
            "restapi": {"listen": f"127.0.0.1:{self.rest}", "connect_address": f"127.0.0.1:{self.rest}"},
            "etcd3": {"hosts": f"127.0.0.1:{self.etcd}"},
            "bootstrap": {"dcs": SETTINGS, "initdb": [{"encoding": "UTF8"}, {"locale": "C.UTF-8"}, {"auth": "trust"}]},
            "postgresql": postgres,
        }

    def start(self):
        # Patroni reads JSON, too, which is YAML.
        command = [sys.executable, "-m", "patroni", self.place / "patroni.json"]
        self.patroni = start(self.logs, self.name, command, cwd=self.place, env=environment(HOME=str(self.place)), **as_other_user())

    def postmaster(self):
        """Its process, and nobody else's that has got the same number since."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().split()[0])
            return [pid] if os.readlink(f"/proc/{pid}/cwd") == str(self.data) else []
        except (OSError, ValueError, IndexError):
            return []

    def processes(self):
        return with_descendants([*([self.patroni.pid] if self.patroni else []), *self.postmaster()])

    def kill(self):
        # The postmaster would start a child anew, so it is the first to go.
        there = self.processes()
        send([self.patroni.pid, *self.postmaster()], signal.SIGKILL)
        send(there, signal.SIGKILL)
        self.patroni.wait()
        self.patroni = None

    def receivers(self):
        """The process by which a replica hears of the leader."""
        found = []
        for pid in self.processes():
            try:
                if b"walreceiver" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(pid)
            except OSError:
                pass
        return found

    def freeze(self):
        """Stops all that it runs, as a machine that is paused. A child that was just begun may need another round."""
        frozen = set()
        send(self.postmaster(), signal.SIGSTOP)
        while not self.processes() <= frozen:
            frozen |= self.processes()
            send(frozen, signal.SIGSTOP)

    def thaw(self):
        send(self.processes(), signal.SIGCONT)

    def ask(self, method, path, body=None):
        """Patroni's answer: its status, and what it says, or None where there is none."""
        connection = http.client.HTTPConnection("127.0.0.1", self.rest, timeout=60 if body else 2)
        try:
            connection.request(method, path, json.dumps(body) if body else None)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except (OSError, http.client.HTTPException):
            return None, ""
        finally:
            connection.close()

    def psql(self, command, seconds=None):
        """Runs a command at this member, wherever the address leads: whether it was done, and what came of it."""
        words = [f"{postgres_programs()}/psql", "--no-psqlrc", "--tuples-only", "--no-align", "--quiet", f"--command={command}"]
        words += ["--host=127.0.0.1", f"--port={self.port}", "--username=postgres", "--dbname=postgres"]
        try:
            ran = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=environment(), timeout=seconds, check=False)
        except subprocess.TimeoutExpired:
            return False, ""
        return ran.returncode == 0, ran.stdout.strip()


class Address:
    """Where the fleet finds the leader: HAProxy with `option httpchk GET /primary`, `inter 1s fall 2 rise 1` and `on-marked-down shutdown-sessions`.

    A session goes to the member that says it leads, and is cut, if the address cuts, when that one says so no more, or nothing.
    """

    def __init__(self, members, port):
        self.members, self.port, self.leader, self.since = members, port, None, 0.0
        self.sessions, self.opened = {member: set() for member in members}, collections.Counter()
        self.lead, self.missed, self.cuts = set(), collections.Counter(), True
        self.loop, self.ended = asyncio.new_event_loop(), asyncio.Event()
        self.thread = threading.Thread(target=self.loop.run_until_complete, args=[self.turn()], daemon=True)
        self.thread.start()

    async def turn(self):
        await asyncio.start_server(self.serve, "127.0.0.1", self.port)
        checks = [asyncio.create_task(self.check(member)) for member in self.members]
        await self.ended.wait()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.gather(*checks, return_exceptions=True)

    def close(self):
        self.loop.call_soon_threadsafe(self.ended.set)
        self.thread.join()

    async def check(self, member):
        while True:
            try:
                says_so = await asyncio.wait_for(says_it_leads(member), ANSWERS_WITHIN_S)
            except (OSError, asyncio.TimeoutError):
                says_so = False
            if says_so:
                self.missed[member] = 0
                self.lead.add(member)
            else:
                self.missed[member] += 1
                if self.missed[member] >= FALL:
                    self.lead.discard(member)
            self.decide()
            await asyncio.sleep(ASK_EVERY_S)

    def decide(self):
        for member in self.members:
            if self.cuts and member not in self.lead:
                for writer in list(self.sessions[member]):
                    writer.transport.abort()
        if self.leader not in self.lead:
            self.leader = next(iter(self.lead), None)
            self.since = time.monotonic()

    async def serve(self, reader, writer):
        member = self.leader
        if member is None:
            writer.transport.abort()
            return
        try:
            of_member, to_member = await asyncio.open_connection("127.0.0.1", member.port)
        except OSError:
            writer.transport.abort()
            return
        self.opened[member] += 1
        self.sessions[member] |= {writer, to_member}
        await asyncio.gather(pass_on(reader, to_member), pass_on(of_member, writer))
        self.sessions[member] -= {writer, to_member}

    def leads_to_another(self, member):
        return self.leader is not None and self.leader is not member


async def says_it_leads(member):
    reader, writer = await asyncio.open_connection("127.0.0.1", member.rest)
    try:
        writer.write(b"GET /primary HTTP/1.0\r\n\r\n")
        return b" 200 " in await reader.readline()
    finally:
        writer.transport.abort()


async def pass_on(reader, writer):
    """All that comes, until either side is gone; then the other is, too."""
    try:
        while some := await reader.read(65_536):
            writer.write(some)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.transport.abort()


class Cluster:
    """etcd, the members, and the address of whoever leads."""

    def __init__(self, work):
        client, peer, at, *ports = free_ports(3 + 2 * MEMBERS)
        self.etcd = self.start_etcd(work, client, peer)
        self.members = [Member(work, number, ports[2 * number:2 * number + 2], client) for number in range(MEMBERS)]
        for member in self.members:
            member.start()
        self.address = Address(self.members, at)

    def start_etcd(self, work, client, peer):
        place = work / "etcd"
        place.mkdir()
        if other_user():
            os.chown(place, other_user().pw_uid, other_user().pw_gid)
        own, others = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"
        command = ["etcd", "--name=etcd", f"--data-dir={place}/data", f"--listen-client-urls={own}", f"--advertise-client-urls={own}"]
        command += [f"--listen-peer-urls={others}", f"--initial-advertise-peer-urls={others}", f"--initial-cluster=etcd={others}"]
        return start(work / "logs", "etcd", command, cwd=place, env=environment(), **as_other_user())

    def url(self, role):
        return f"postgres://{role}@127.0.0.1:{self.address.port}/holdfast?sslmode=disable"

    def roles(self):
        """What each running member does, as Patroni knows it."""
        leader = self.address.leader
        status, said = leader.ask("GET", "/cluster") if leader else (None, "")
        return {member["name"]: (member["role"], member["state"]) for member in json.loads(said)["members"]} if status == 200 else {}

    def synchronous(self):
        return [member for member in self.members if self.roles().get(member.name) == ("sync_standby", "streaming")]

    def is_whole(self):
        """All members are there, and one commits together with the leader. Without such a one nobody may take over from it."""
        roles = sorted(self.roles().values())
        return roles == sorted([("leader", "running"), ("sync_standby", "streaming"), *[("replica", "streaming")] * (MEMBERS - 2)])

    def close(self):
        for member in self.members:
            # Patroni would start a Postgres again. One that is told to quit leaves no shared memory behind.
            there = member.processes()
            send([member.patroni.pid] if member.patroni else [], signal.SIGKILL)
            send(member.postmaster(), signal.SIGQUIT)
            send(there, signal.SIGCONT)
            deadline = time.monotonic() + 10
            while member.postmaster() and time.monotonic() < deadline:
                time.sleep(0.05)
            send(there, signal.SIGKILL)
        self.etcd.kill()
        self.etcd.wait()
        self.address.close()


class Fleet:
    """A nats-server, the workers and the gateway."""

    def __init__(self, work, programs, cluster):
        broker, self.port, *ports = free_ports(3 + 2 * len(WORKERS))
        self.work, self.programs, self.cluster, self.broker = work, programs, cluster, f"nats://127.0.0.1:{broker}"
        self.ready_at, self.token = {}, secrets.token_hex(32)
        hashed, scopes = hashlib.sha256(self.token.encode()).hexdigest(), ["orders:read", "orders:write", "catalog:write", "refunds:decide"]
        (work / "tokens.toml").write_text(f'[[token]]\ncaller = "buyer"\nsha256 = "{hashed}"\nscopes = {json.dumps(scopes)}\n')
        (work / "nats.conf").write_text(f'listen: 127.0.0.1:{broker}\njetstream {{ store_dir: "{work}/nats", max_file_store: 64GB }}\n')
        self.processes = {"nats-server": start(work / "logs", "nats-server", [nats_server(), "--config", work / "nats.conf"], env=environment())}
        for name in [*WORKERS, *WORKERS, "gateway"]:
            self.start(name, ports.pop())

    def settings(self, name):
        return {
            "HOLDFAST_DATABASE_URL": self.cluster.url(f"holdfast_{name}"),
            "HOLDFAST_BROKER_URL": self.broker,
            "HOLDFAST_PAYMENTS_PROVIDERS": "sandbox,wallet",
            "HOLDFAST_GATEWAY_ADDRESS": f"127.0.0.1:{self.port}",
            "HOLDFAST_GATEWAY_TOKENS": str(self.work / "tokens.toml"),
        }

    def start(self, name, port):
        number = sum(there.startswith(f"{name}-") for there in self.processes)
        self.ready_at[f"{name}-{number}"] = port
        told = environment(**self.settings(name), HOLDFAST_HTTP_ADDRESS=f"127.0.0.1:{port}")
        self.processes[f"{name}-{number}"] = start(self.work / "logs", f"{name}-{number}", [self.programs / f"holdfast-{name}"], env=told)

    def exited(self):
        return {name: process.returncode for name, process in self.processes.items() if process.poll() is not None}

    def not_ready(self):
        """Who cannot go on, and why."""
        found = {}
        for name, port in self.ready_at.items():
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            try:
                connection.request("GET", "/readyz")
                answer = connection.getresponse()
                said = answer.read().decode()
                if answer.status != 200:
                    found[name] = said
            except (OSError, http.client.HTTPException) as error:
                found[name] = str(error)
            finally:
                connection.close()
        return found

    def said(self, words):
        """In whose log there are these words."""
        return [name for name in self.processes if words in (self.work / "logs" / f"{name}.log").read_text(errors="replace")]

    def holdfast(self, role, *words):
        """What the command finds, as JSON, and its exit code."""
        command = [str(self.programs / "holdfast"), *words, "--database-url", self.cluster.url(role), "--json"]
        ran = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=environment(), check=False)
        if ran.returncode not in (0, 1):
            raise SystemExit(f"deploy: holdfast {' '.join(words)}: exit code {ran.returncode}\n{ran.stdout[-3000:]}{ran.stderr[-3000:]}")
        return json.loads(ran.stdout)

    def findings(self):
        """What `holdfast diagnose` finds, and what it cannot look at; of what goes by, a minute later."""
        deadline = time.monotonic() + 60
        while True:
            diagnosis = self.holdfast("holdfast_gateway", "diagnose", "--broker-url", self.broker)
            found = diagnosis["findings"] + diagnosis["unknown"]
            if not found or time.monotonic() > deadline:
                return found
            time.sleep(2)

    def close(self):
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def make_database(cluster, programs):
    leader = cluster.address.leader
    for command in MADE:
        if not leader.psql(command)[0]:
            raise SystemExit(f"deploy: {leader.name} refuses: {command}")
    run(programs / "holdfast", "migrate", "--database-url", cluster.url("holdfast_owner"), env=environment())
    leader.psql("create role holdfast_auditor login; grant pg_read_all_data to holdfast_auditor")


def kill(cluster, leader, go_on):
    """Its Patroni and its Postgres end at once; later its machine comes back."""
    leader.kill()
    took = go_on()
    leader.start()
    return took


def cut_off(cluster, leader, go_on):
    """No replica hears of it any more, and then it is killed: what it has acknowledged in between is nowhere else."""
    deaf = [pid for member in cluster.members for pid in member.receivers()]
    if len(deaf) != MEMBERS - 1:
        raise SystemExit(f"deploy: {len(deaf)} replicas hear of the leader")
    send(deaf, signal.SIGSTOP)
    time.sleep(CUT_OFF_S)
    leader.kill()
    # They end before they take in what has come this far, and those that begin anew find nobody.
    send(deaf, signal.SIGTERM)
    send(deaf, signal.SIGCONT)
    took = go_on()
    leader.start()
    return took


def switch_over(cluster, leader, go_on):
    """As an operator asks for it."""
    candidate = cluster.synchronous()[0]
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        asked = pool.submit(leader.ask, "POST", "/switchover", {"leader": leader.name, "candidate": candidate.name})
        took = go_on()
        status, said = asked.result()
    if status != 200:
        raise SystemExit(f"deploy: {leader.name} does not hand over: {status} {said}")
    return took


def freeze(cluster, leader, go_on):
    """Its machine stands still until another leads, and then goes on as if nothing had been: nobody may write there."""
    leader.freeze()
    took = go_on()
    sessions = cluster.address.opened[leader]
    leader.thaw()
    began, tried = time.monotonic(), 0
    while cluster.roles().get(leader.name, ("", ""))[0] in ("", "leader") or leader.psql("select pg_is_in_recovery()", 2) != (True, "t"):
        tried += 1
        if leader.psql(f"insert into attempts values ('{leader.name}')", 2)[0]:
            raise SystemExit(f"deploy: {leader.name} has acknowledged what was written to it after another led")
        if time.monotonic() - began > 120:
            raise SystemExit(f"deploy: {leader.name} has not become a replica in 120 s")
    took_s = time.monotonic() - began
    print(f"deploy: {leader.name} was a replica {took_s:.1f} s after it woke; of {tried} tries to write to it until then none was acknowledged", flush=True)
    if cluster.address.opened[leader] != sessions:
        raise SystemExit(f"deploy: the address has led a session to {leader.name} after it woke")
    return took


def freeze_uncut(cluster, leader, go_on):
    """The same, and nobody cuts the sessions that it has: whoever waits for it is to find that out."""
    cluster.address.cuts = False
    try:
        return freeze(cluster, leader, go_on)
    finally:
        cluster.address.cuts = True


HARMS = [("is killed", kill)] * 3 + [("hands over", switch_over)] * 2
HARMS += [(f"is heard by no replica, and killed {CUT_OFF_S} s later", cut_off), ("stands still", freeze)]
HARMS += [("stands still, and its sessions are not cut", freeze_uncut)]


def harm_all(cluster, fleet, caller):
    """Takes the lead from whoever has it, in each way; prints how long it took until an order was placed and paid after that."""
    print("deploy: | the leader | of | then leads | another leads after | a new order is placed and paid after |\ndeploy: |---|---|---|---|---|", flush=True)
    for name, harm in HARMS:
        until("all members of the cluster", 180, cluster.is_whole)
        leader, began = cluster.address.leader, time.monotonic()

        def go_on():
            until("another leader", 120, lambda: cluster.address.leads_to_another(leader))
            caller.buys()
            return cluster.address.since - began, time.monotonic() - began

        elected, bought = harm(cluster, leader, go_on)
        print(f"deploy: | {name} | {leader.name} | {cluster.address.leader.name} | {elected:.1f} s | {bought:.1f} s |", flush=True)
        if fleet.exited():
            raise SystemExit(f"deploy: exited: {fleet.exited()}")
    until("all members of the cluster", 180, cluster.is_whole)


def judge(cluster, fleet, caller, shop):
    """Prints all that is not as it must be; whether it held."""
    wrong = not_as_told(caller, shop)
    print(f"deploy: {len(wrong)} of them did not end as they had to {wrong[:5]}")
    print(f"deploy: exited: {fleet.exited() or 'none'}; not ready: {fleet.not_ready() or 'none'}")
    behind = fleet.said("DATABASE_BEHIND_BROKER")
    print(f"deploy: found that the database is behind the broker, and needed `holdfast recover`: {', '.join(behind) or 'none'}")
    verdict = fleet.holdfast("holdfast_auditor", "verify")
    print(f"deploy: verify: ok: {verdict['ok']}" + ("" if verdict["ok"] else f" {json.dumps(verdict)[:3000]}"))
    findings = fleet.findings()
    print(f"deploy: diagnose: {json.dumps(findings)[:3000] if findings else 'nothing is wrong'}", flush=True)
    return not (wrong or fleet.exited() or fleet.not_ready() or behind or findings) and verdict["ok"]


def say_versions():
    etcd = run("etcd", "--version", env=environment()).split()[2]
    print(f"deploy: etcd {etcd}, Patroni {run(sys.executable, '-m', 'patroni', '--version').split()[-1]}, {run(postgres_programs() / 'postgres', '--version').strip()}")


def run_all(work, programs, cluster):
    say_versions()
    until("all members of the cluster", 180, cluster.is_whole)
    make_database(cluster, programs)
    fleet = Fleet(work, programs, cluster)
    try:
        caller = Caller(fleet.token, fleet.port)
        caller.stock()
        print(f"deploy: with nothing harmed an order is placed and paid after {caller.buys():.1f} s", flush=True)
        began, shop = time.monotonic(), Shop(fleet.token, fleet.port, BUYERS)
        try:
            harm_all(cluster, fleet, caller)
        finally:
            shop.stop()
        print(f"deploy: {len(shop.placed)} orders in {time.monotonic() - began:.0f} s: {dict(collections.Counter(shop.placed.values()))}", flush=True)
        return judge(cluster, fleet, caller, shop)
    finally:
        fleet.close()


def show_logs(logs):
    for log in sorted(logs.glob("*.log")):
        print(f"deploy: the end of {log.name}:\n" + "".join(f"    {line}\n" for line in log.read_text(errors="replace").splitlines()[-15:]), end="")


def main():
    programs = pathlib.Path(sys.argv[1]).resolve()
    reasons = list(cannot(programs))
    if reasons:
        print(f"deploy: this machine cannot run it: {'; '.join(reasons)}")
        return 3
    # Whoever ends this program ends all that it has started.
    for number in [signal.SIGTERM, signal.SIGHUP]:
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    with tempfile.TemporaryDirectory(prefix="holdfast-failover-", ignore_cleanup_errors=True) as directory:
        work = pathlib.Path(directory)
        work.chmod(0o755)
        (work / "logs").mkdir()
        cluster = Cluster(work)
        held = False
        try:
            held = run_all(work, programs, cluster)
        finally:
            cluster.close()
            if not held:
                show_logs(work / "logs")
            if len(sys.argv) > 2:
                shutil.copytree(work / "logs", sys.argv[2], dirs_exist_ok=True)
        print(f"deploy: {'it held' if held else 'it did not hold'}")
        return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
