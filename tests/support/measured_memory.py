"""Trains experiments, each in a process of its own: what each took at most, and what it announced.

``python measured_memory.py`` with a JSON list of experiments on standard input; a JSON list of [peak, estimate],
in MiB, on standard output. Processes are forked from this one, which has loaded everything: they start at once,
and the system counts the peak of each from its start.
"""

import json
import os
import sys
from pathlib import Path

import admmctl
from admmctl.methods.method import methods
from admmctl.runs import worker

assert worker  # loaded here, not in every process


def trained(experiment: dict) -> list[float]:
    """Peak and estimate of a run."""
    reader, writer = os.pipe()
    process = os.fork()
    if not process:
        try:
            (run,) = admmctl.train(experiment)
            estimate = json.loads((Path(run["folder"]) / "environment.json").read_text())["memory_estimate_mb"]
            os.write(writer, json.dumps([run["peak_rss_mb"], estimate]).encode())
            os._exit(0)
        finally:
            os._exit(1)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        found = pipe.read()
    os.waitpid(process, 0)
    assert found, f"the run of {list(experiment['methods'])} failed"
    return json.loads(found)


if __name__ == "__main__":
    experiments = json.load(sys.stdin)
    for experiment in experiments:
        for method in experiment["methods"]:
            methods.load(method)
    json.dump([trained(experiment) for experiment in experiments], sys.stdout)
