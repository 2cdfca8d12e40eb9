"""The list of figures for people, and what is said at the end of those that failed."""

from typing import Any

from rich.table import Table

from admmctl.report.tables import Plain

WIDTH = 100  # columns that the list needs
COLUMNS = (("from", 11), ("shows", 21), ("data", 9), ("runs, and what quick leaves out", 26))


def figures_table(entries: list[dict[str, Any]]) -> Table:
    """Name, where it is from, what it shows, its data, its runs and what the quick scale leaves out."""
    table = Plain()
    table.add_column("figure")
    for heading, width in COLUMNS:
        table.add_column(heading, width=width, overflow="fold")
    for entry in entries:
        number = entry["number"].replace("Figures", "Figs.").replace("Figure", "Fig.")
        origin = f"{entry['paper'].partition(' ')[0].rstrip(',')} {number}"
        table.add_row(entry["name"], origin, entry["shows"], _data(entry), _runs(entry))
    return table


def _data(entry: dict[str, Any]) -> str:
    data = entry["data"]
    if data is None:
        return "none"
    return f"{data['name']}: {'here' if data['here'] else 'not here'}"


def _runs(entry: dict[str, Any]) -> str:
    """'higgs.yaml: 4 methods x 10, 7,200 cores; quick: ...'."""
    if entry["source"] == "points":
        return "no runs"
    quick = "" if entry["quick"]["less"] == "nothing" else f"; quick: {entry['quick']['less']}"
    if entry["source"] == "condition":
        return f"{entry['config'].removeprefix('configs/')}: no runs{quick}"
    methods, repeats = len(entry["methods"]), entry["repeats"]
    cores = ", ".join(f"{count:,}" for count in entry["cores"])
    what = f"{methods} method{'s' * (methods != 1)} x {repeats}"
    config = entry["config"].removeprefix("configs/")
    return f"{config}: {what}, {cores} core{'s' * (cores != '1')}{quick}"


def failures(failed: dict[str, str]) -> str:
    """Every figure that failed and why; the rest were drawn."""
    lines = "\n".join(f"{name}: {reason}" for name, reason in failed.items())
    return f"{len(failed)} of the figures failed, the others are drawn:\n{lines}"
