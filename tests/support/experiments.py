"""Small experiments, as mappings."""

from typing import Any


def swissroll(name: str, rows: int = 400, layers: tuple[int, ...] = (8,), **changes: Any) -> dict[str, Any]:
    """ADMM on the Swiss roll; ``changes`` are other keys of the file."""
    return {
        "name": name,
        "data": {"name": "swissroll", "rows": rows},
        "network": {"layers": list(layers)},
        "loss": "squared",
        "methods": {"admm": {}},
        **changes,
    }
