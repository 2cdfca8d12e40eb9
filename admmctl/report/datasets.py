"""Tables of datasets: a list of all, and everything about one."""

from rich.table import Table

from admmctl.data.listing import Entry
from admmctl.report.tables import Plain
from admmctl.report.text import size


def datasets_table(entries: list[Entry]) -> Table:
    """A line per dataset."""
    texts = ("dataset", "here", "rows", "features")
    table = Plain(*texts, "disk", fold=texts)
    states = {"here": "yes", "absent": "no", "computed": "computed", "yours": "your files", "damaged": "damaged"}
    for entry in entries:
        rows = entry["rows"]
        if "parts" in entry:
            rows = " + ".join(f"{part['rows']:,} {name}" for name, part in entry["parts"].items())
        unofficial = "" if entry.get("official", True) else ", unofficial"
        unofficial = ", made up" if entry.get("made_up", False) else unofficial
        table.add_row(
            entry["name"], states[entry["state"]] + unofficial, rows, entry["features"], size(entry["disk_bytes"])
        )
    return table


def dataset_details(entry: Entry) -> Table:
    """Everything about one dataset."""
    table = Plain.facts(padding=(0, 1))
    for key in ("name", "title", "state", "problem", "rows", "features", "licence", "citation", "folder"):
        if (value := entry.get(key)) is not None:
            table.add_row(key, str(value))
    if entry["disk_bytes"]:
        table.add_row("disk", size(entry["disk_bytes"]))
    for part, found in entry.get("parts", {}).items():
        counts = "  ".join(f"{label}: {count:,}" for label, count in found["label_counts"].items())
        table.add_row(f"{part} rows", f"{found['rows']:,}  ({counts})")
    for source in entry.get("sources", []):
        official = "official" if source["official"] else "not the official file"
        official = "made up" if source.get("made_up", False) else official
        table.add_row(
            "made from", f"{source['file']}  {source['bytes']:,} bytes  {official}  sha256 {source['sha256']}"
        )
    for file in entry["files"]:
        optional = "  (with --extra)" if file["optional"] else ""
        table.add_row(
            "official file", f"{file['name']}  {file['bytes']:,} bytes{optional}  sha256 {file['sha256']}"
        )
        for address in file["addresses"]:
            table.add_row("", address)
    return table
