"""The alerts as Prometheus of compose.yaml reads them: made of those that the Prometheus operator is given, so there is one list of them.

Usage: rules.py     writes them to compose/prometheus/rules.yaml
"""

import pathlib
import textwrap

HERE = pathlib.Path(__file__).resolve().parent
# Below the directory deploy.
MADE_OF = "k8s/components/monitoring/rules.yaml"
WRITTEN_TO = "compose/prometheus/rules.yaml"


def text(deploy):
    """The file: the `spec` of the PrometheusRule, as it is written there."""
    rules = (deploy / MADE_OF).read_text()
    return f"# Made by deploy/rules.py of deploy/{MADE_OF}, where it is to be changed.\n" + textwrap.dedent(rules.partition("\nspec:\n")[2])


if __name__ == "__main__":
    (HERE / WRITTEN_TO).write_text(text(HERE))
