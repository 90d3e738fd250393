"""Makes what a fleet needs so that each knows who the other is: passwords, keys of the broker's users, tokens, and certificates of an authority of its own.

Usage: credentials.py DIRECTORY [--postgres HOST] [--nats HOST,HOST,...] [--in-place]

Writes a directory for each process, holdfast-NAME, with the files that it finds below /etc/holdfast; `postgres` and `nats`, with those of the servers;
`grafana`, with the password of its user admin; and `token`, which proves to the gateway that one may do everything. The hosts, each with its port if that is another, are those by which processes
reach the servers: postgres, and nats-0, nats-1 and nats-2. With --in-place processes find their files where they are written. Needs openssl.

What is there stays. To change a secret, delete its file and run this again. Postgres hears of another password by postgres/roles.sql, and nats-server of
another key, which is in the directory keys, by nats/keys.conf.
"""

import argparse
import hashlib
import os
import pathlib
import secrets
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
READ_AT = "/etc/holdfast"
# Workers and the gateway: each has a role of its own in the database, and is a user of the broker.
PROCESSES = ["orders", "inventory", "rounds", "payments", "all-in-one", "gateway"]
RELAYS = ["orders", "all-in-one"]
GRAFANA = "grafana/admin-password"
SCOPES = ["orders:read", "orders:write", "catalog:write", "refunds:decide", "operate", "audit:read"]
VALID_DAYS = 3650
EXTENSIONS = """[req]
distinguished_name = name
[name]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
extendedKeyUsage = serverAuth, clientAuth
subjectAltName = {names}
"""
# Who may come, and how: a superuser from the machine itself, all others by a password and over TLS.
RULES = "local all all trust\nhostssl all all all scram-sha-256\n"
# Roles that the migrations do not make, and what they need.
ROLES = """do $$ begin
    if not exists (select from pg_roles where rolname = 'holdfast_auditor') then
        create role holdfast_auditor login;
    end if;
    if not exists (select from pg_roles where rolname = 'holdfast_gateway_operator') then
        create role holdfast_gateway_operator login;
    end if;
end $$;
grant pg_read_all_data to holdfast_auditor;
grant holdfast_operator, pg_read_all_stats, pg_signal_backend to holdfast_gateway_operator;
"""


def write(file, text):
    """A file that only its owner reads, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f".{file.name}.new")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as secret:
        secret.write(text)
    new.replace(file)


def once(file, make):
    """What a file says, which is made if it is not there."""
    if not file.exists():
        write(file, make() + "\n")
    return file.read_text().strip()


def openssl(*words):
    ran = subprocess.run(["openssl", *map(str, words)], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if ran.returncode != 0:
        sys.exit(f"credentials: openssl {' '.join(map(str, words))}: exit code {ran.returncode}\n{ran.stderr}")
    return ran.stdout


def make_key(file):
    once(file, lambda: openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"))


def make_authority(directory):
    make_key(directory / "ca.key")
    if not (directory / "ca.crt").exists():
        with tempfile.NamedTemporaryFile("w", suffix=".conf") as settings:
            settings.write(EXTENSIONS.format(names="DNS:nobody"))
            settings.flush()
            request = ["req", "-x509", "-new", "-key", directory / "ca.key", "-subj", "/CN=Holdfast", "-days", VALID_DAYS]
            write(directory / "ca.crt", openssl(*request, "-config", settings.name, "-extensions", "authority"))


def certify(directory, server, hosts):
    """A server's key, and its certificate, which says by which names it is reached."""
    key, certificate = directory / server / "server.key", directory / server / "server.crt"
    make_key(key)
    write(directory / server / "ca.crt", (directory / "ca.crt").read_text())
    if certificate.exists():
        return
    hosts = [host.split(":")[0] for host in hosts]
    names = ",".join([*(f"DNS:{host}" for host in [*hosts, "localhost"]), "IP:127.0.0.1"])
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as settings, tempfile.NamedTemporaryFile(suffix=".csr") as request:
        settings.write(EXTENSIONS.format(names=names))
        settings.flush()
        openssl("req", "-new", "-key", key, "-subj", f"/CN={hosts[0]}", "-config", settings.name, "-out", request.name)
        signed = ["x509", "-req", "-in", request.name, "-CA", directory / "ca.crt", "-CAkey", directory / "ca.key"]
        signed += ["-set_serial", f"0x{secrets.token_hex(16)}", "-days", VALID_DAYS, "-extfile", settings.name, "-extensions", "server"]
        write(certificate, openssl(*signed))


def at_port(host, port):
    return host if ":" in host else f"{host}:{port}"


def address(role, postgres, at):
    return f"postgres://{role}@{at_port(postgres, 5432)}/holdfast?sslmode=verify-full&sslrootcert={at}/ca.crt"


def section(name, settings):
    return f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in settings.items())


def text(words):
    return f'"{words}"'


def make_process(directory, name, user, hosts):
    """The files of one process, and its password. `user`: which of the broker's users it is."""
    own, role = directory / f"holdfast-{name}", f"holdfast_{name.replace('-', '_')}"
    at = own.resolve() if hosts.in_place else READ_AT
    password = once(own / "database-password", lambda: secrets.token_hex(24))
    write(own / "ca.crt", (directory / "ca.crt").read_text())
    settings = section("database", {"url": text(address(role, hosts.postgres, at)), "password": text(f"{at}/database-password")})
    if user:
        write(own / "nats.nk", (directory / "keys" / f"{user}.nk").read_text())
        broker = {
            "url": text(",".join(f"tls://{at_port(host, 4222)}" for host in hosts.nats)),
            "root_certificates": text(f"{at}/ca.crt"),
            "credentials": text(f"{at}/nats.nk"),
            "inbox_prefix": text(f"_INBOX.{user}"),
        }
        settings += section("broker", broker)
    if name in PROCESSES and name != "gateway":
        settings += section("relay", {"runs": str(name in RELAYS).lower()})
    if name == "gateway":
        settings += section("gateway", make_gateway(directory, own, hosts, at))
    write(own / "holdfast.toml", settings)
    return role, password


def make_gateway(directory, own, hosts, at):
    token = once(directory / "token", lambda: secrets.token_hex(32))
    hashed = hashlib.sha256(token.encode()).hexdigest()
    scopes = ", ".join(map(text, SCOPES))
    known = once(own / "tokens.toml", lambda: f'[[token]]\ncaller = "owner"\nsha256 = "{hashed}"\nscopes = [{scopes}]')
    if hashed not in known:
        sys.exit(f"credentials: {own / 'tokens.toml'} does not know {directory / 'token'}. Delete it too, or write there: sha256 = \"{hashed}\"")
    once(own / "link-secret", lambda: secrets.token_hex(32))
    once(own / "console-secret", lambda: secrets.token_hex(32))
    once(own / "operator-password", lambda: secrets.token_hex(24))
    return {
        "tokens": text(f"{at}/tokens.toml"),
        "link_secret": text(f"{at}/link-secret"),
        "console_secret": text(f"{at}/console-secret"),
        "operator_url": text(address("holdfast_gateway_operator", hosts.postgres, at)),
        "operator_password": text(f"{at}/operator-password"),
    }


def make_postgres(directory, passwords, hosts):
    own = directory / "postgres"
    superuser = once(own / "superuser-password", lambda: secrets.token_hex(24))
    write(own / "pgpass", f"*:*:*:postgres:{superuser}\n")
    write(own / "pg_hba.conf", RULES)
    owner = passwords["holdfast_owner"]
    made = f"create role holdfast_owner login createrole password '{owner}';\ngrant pg_read_all_stats to holdfast_owner;\ncreate database holdfast owner holdfast_owner;\n"
    write(own / "owner.sql", made)
    changes = "".join(f"alter role {role} password '{password}';\n" for role, password in sorted(passwords.items()))
    write(own / "roles.sql", f"begin;\n{ROLES}{changes}commit;\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("--postgres", default="postgres", metavar="HOST")
    parser.add_argument("--nats", default="nats-0,nats-1,nats-2", type=lambda hosts: hosts.split(","), metavar="HOST,HOST")
    parser.add_argument("--in-place", action="store_true")
    hosts = parser.parse_args()
    directory = hosts.directory
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    subprocess.run([sys.executable, "-B", HERE / "nats/keys.py", directory / "keys"], check=True)
    make_authority(directory)
    certify(directory, "postgres", [hosts.postgres])
    certify(directory, "nats", hosts.nats)
    for file in [directory / "keys/keys.conf", *sorted((HERE / "nats").glob("*.conf"))]:
        write(directory / "nats" / file.name, file.read_text())
    users = {name: name for name in PROCESSES} | {"owner": None, "traces": None, "mail": "mail", "auditor": "operator"}
    passwords = dict(make_process(directory, name, user, hosts) for name, user in users.items())
    passwords["holdfast_gateway_operator"] = (directory / "holdfast-gateway/operator-password").read_text().strip()
    make_postgres(directory, passwords, hosts)
    once(directory / GRAFANA, lambda: secrets.token_hex(24))


if __name__ == "__main__":
    main()
