"""Does the gateway do what its OpenAPI document says, whatever is sent? Starts a private fleet, and lets schemathesis send requests of all
kinds that follow from the document, and many that break it. No answer may be a 5xx, undocumented, or of another shape than the document says, and
nothing that the document forbids may be taken in.

Usage: check_api.py HOLDFAST [seconds]     (HOLDFAST is the built `holdfast` command)
"""

import pathlib
import re
import signal
import subprocess
import sys
import tempfile

# What the document cannot say: amounts add up, currencies exist, times are in the future. Much that follows it is refused, with a reason.
NOT_CHECKED = "positive_data_acceptance"


def check(holdfast, seconds):
    with tempfile.TemporaryDirectory(prefix="holdfast-api-") as directory:
        fleet = subprocess.Popen(
            [holdfast, "up", "--dir", str(pathlib.Path(directory) / "fleet")], stdout=subprocess.PIPE, text=True
        )
        try:
            for line in fleet.stdout:
                if found := re.search(r"HOLDFAST=(\S+) TOKEN=(\S+)", line):
                    break
            else:
                raise SystemExit("the fleet did not come up")
            url, token = found.groups()
            command = ["-m", "schemathesis.cli", "run", f"{url}/openapi.json", "--header", f"Authorization: Bearer {token}"]
            limits = ["--max-time", seconds, "--phases", "examples,coverage,fuzzing", "--continue-on-failure", "--exclude-checks", NOT_CHECKED]
            # A report of its own would be left behind where this runs.
            return subprocess.run([sys.executable, *command, *limits], cwd=directory, check=False).returncode
        finally:
            fleet.send_signal(signal.SIGINT)
            fleet.stdout.read()
            fleet.wait()


if __name__ == "__main__":
    sys.exit(check(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "30"))
