"""The list of experiments that have a name, and what ``admmctl init`` did."""

from collections import Counter
from collections.abc import Sequence

from rich.table import Table

from admmctl.experiment.bundled import Written
from admmctl.experiment.listing import Listed
from admmctl.report.tables import Plain
from admmctl.report.text import count


def configs_table(listed: Sequence[Listed]) -> Table:
    """A line per experiment: its name, what it needs, what it is about."""
    table = Plain("experiment", left=["experiment"])
    for heading, width in (("needs", 26), ("about", 31)):
        table.add_column(heading, width=width, overflow="fold")
    for each in listed:
        table.add_row(each.name, "\n".join(needs(each)), each.about)
    return table


def needs(listed: Listed) -> list[str]:
    """What an experiment needs, a line each."""
    if listed.problem is not None:
        return [listed.problem]
    data = [] if listed.data_state == "computed" else [listed.fetch or f"{listed.data}, which is here"]
    return data + [f"extra {extra}: {', '.join(methods)}" for extra, methods in listed.extras.items()]


def written_text(files: Sequence[Written]) -> str:
    """How many files were written and how many were the same, and the names of those that were changed."""
    many = Counter(each.state for each in files)
    kept = [f"changed, and so kept: {each.file}" for each in files if each.state == "kept"]
    written = f"{count(many['written'], 'file')} written, {many['same']} here already and the same"
    return "\n".join([written, *kept])
