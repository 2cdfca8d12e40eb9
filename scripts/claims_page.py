"""Write docs/claims.md: every claim of the papers with its verdict, as it came out on this machine; none of ours.

``.venv/bin/admmctl claims --json | .venv/bin/python scripts/claims_page.py > docs/claims.md``
"""

import json
import sys
import textwrap
from collections import Counter
from itertools import groupby
from pathlib import Path
from typing import Any

from admmctl.report.text import count
from admmctl.report.verdict import Verdict

WIDTH = 118  # columns of a page's lines
INTRODUCTION = """\
What the five papers claim, in our words, and what own runs say to it. `admmctl claims` makes this list of the \
runs that are recorded here, `admmctl claims ID --run` makes the runs of a claim, and `admmctl report` shows all \
of it with figures. This page is how it came out on {machine}: one core and one thread a run, all cores for those \
of the convex paper, and other numbers of cores where a claim says so; runs whose seconds are not read were made \
beside others. In brackets are 95 % intervals of medians over n seeds. A verdict needs intervals that do not \
overlap; of seconds, runs that other work disturbed do not count. It is a verdict on the claim under these \
conditions, on these data, and on our implementation: what differs from the paper is said each time."""


def machine(claims: list[dict[str, Any]]) -> str:
    """'a machine with 2 cores (AMD EPYC)': where the runs were made."""
    runs = {Path(run) for claim in claims for run in claim["runs"]}
    found = [json.loads((run / "environment.json").read_text()) for run in sorted(runs)]
    if not found:
        sys.exit("no claim is told from a run: make some first, by admmctl claims --run")
    cores: dict[str, int] = {}
    for each in found:  # a run that was given one core counts that alone
        processor = ", ".join(each["cpu"])
        cores[processor] = max(each["cores"], cores.get(processor, 0))
    return " and ".join(f"a machine with {count(most, 'core')} ({cpu})" for cpu, most in sorted(cores.items()))


def wrapped(text: str, indent: str = "") -> str:
    """Lines of a page, of which those after the first are indented."""
    return textwrap.fill(text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def entry(claim: dict[str, Any]) -> str:
    """A claim as an item of a list."""
    parts = [f"**{claim['verdict'].capitalize()}:** {claim['text']} ({claim['where']}; `{claim['id']}`)"]
    if claim["evidence"]:
        parts.append(f"Measured: {claim['evidence']}.")
    if claim["needs"]:
        parts.append(f"To tell it{' for sure' * bool(claim['evidence'])} takes {claim['needs']}.")
    if claim["differs"]:
        parts.append(f"{'Conditions' if claim['ours'] else 'Differs'}: {claim['differs']}.")
    return "\n".join(wrapped(f"- {part}" if part is parts[0] else f"  {part}", "  ") for part in parts)


def page(claims: list[dict[str, Any]]) -> str:
    """The page, in Markdown."""
    header = "| paper | claims | " + " | ".join(Verdict) + " |\n|" + "---|" * (len(Verdict) + 2)
    rows, sections = [], []
    for paper, group in groupby(claims, key=lambda claim: claim["paper"]):
        of_paper = list(group)
        many = Counter(claim["verdict"] for claim in of_paper)
        rows.append((paper, len(of_paper), *(many[verdict] for verdict in Verdict)))
        sections.append(f"## {paper}\n" + "\n".join(map(entry, of_paper)))
    rows.append(("all", *(sum(row[column] for row in rows) for column in range(1, len(Verdict) + 2))))
    table = "\n".join([header, *("| " + " | ".join(map(str, row)) + " |" for row in rows)])
    introduction = wrapped(INTRODUCTION.format(machine=machine(claims)))
    return "\n\n".join([f"# What holds of the papers\n{introduction}", table, *sections]) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page([claim for claim in json.load(sys.stdin)["claims"] if not claim["ours"]]))
