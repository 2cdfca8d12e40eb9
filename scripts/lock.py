"""Write requirements.lock, requirements-dev.lock, requirements-docs.lock: what pyproject.toml resolves to today.

Each set is installed into a fresh virtual environment and frozen there. The development lock lists only
what the runtime lock does not, that of the docs site only what neither does: no two disagree about a version.
"""

import subprocess
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent


def freeze(requirements: list[str]) -> list[str]:
    """The exact versions that ``requirements`` resolve to, as ``name==version`` lines."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        pip = [str(Path(folder, "bin", "python")), "-m", "pip", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", "--quiet", *requirements], check=True)
        frozen = subprocess.run([*pip, "freeze"], check=True, capture_output=True, text=True)
    return sorted(frozen.stdout.splitlines(), key=str.lower)


def write(name: str, lines: list[str]) -> None:
    header = "# Written by `make lock` from pyproject.toml. Do not edit.\n"
    (ROOT / name).write_text(header + "".join(line + "\n" for line in lines))


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    runtime = freeze(project["dependencies"])
    development = freeze([*runtime, *project["optional-dependencies"]["dev"]])
    docs = freeze([*development, *project["optional-dependencies"]["docs"]])
    write("requirements.lock", runtime)
    write("requirements-dev.lock", [line for line in development if line not in runtime])
    write("requirements-docs.lock", [line for line in docs if line not in development])


if __name__ == "__main__":
    main()
