"""The table of ``doctor``: a line for each check, with the cure below it where something is wrong."""

from rich.console import Group
from rich.text import Text

from admmctl.report.tables import Plain
from admmctl.report.text import count
from admmctl.studies.doctor import Check

_STYLES = {"ok": "green", "warning": "yellow", "error": "bold red"}


def doctor_table(checks: list[Check]) -> Group:
    """All checks, and how many errors and warnings there are."""
    table = Plain(show_header=False)
    table.add_column()
    table.add_column()
    table.add_column(overflow="fold")
    before = ""
    for check in checks:
        detail = Text(check.detail)
        if check.cure:
            detail.append(f"\n-> {check.cure}", style="bold")
        table.add_row(
            Text(check.state, style=_STYLES[check.state]), "" if check.name == before else check.name, detail
        )
        before = check.name
    counts = {state: sum(check.state == state for check in checks) for state in ("error", "warning")}
    found = " and ".join(count(many, state) for state, many in counts.items() if many)
    end = f"{found}; the cures stand behind the arrows" if found else "all is well"
    return Group(table, Text(""), Text(end))
