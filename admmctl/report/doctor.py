"""The doctor's report for people: a line per check, what is wrong marked, its cure below."""

from typing import Any

from rich.console import Group
from rich.text import Text

from admmctl.report.tables import Plain

_STYLES = {"ok": "green", "warning": "yellow", "error": "bold red"}


def doctor_table(checks: list[dict[str, Any]]) -> Group:
    """All checks, and how many need attention."""
    table = Plain(show_header=False)
    table.add_column()
    table.add_column()
    table.add_column(overflow="fold")
    shown = ""
    for check in checks:
        text = Text(check["detail"])
        if check["cure"]:
            text.append(f"\n-> {check['cure']}", style="bold")
        name = check["name"] if check["name"] != shown else ""
        shown = check["name"]
        table.add_row(Text(check["state"], style=_STYLES[check["state"]]), name, text)
    counts = {state: sum(check["state"] == state for check in checks) for state in ("error", "warning")}
    words = [f"{count} {state}{'s' * (count > 1)}" for state, count in counts.items() if count]
    end = " and ".join(words) + "; the cures stand behind the arrows" if words else "all is well"
    return Group(table, Text(""), Text(end))
