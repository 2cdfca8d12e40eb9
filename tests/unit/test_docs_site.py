"""The docs site: it is built without a warning, its links lead somewhere, and it loads nothing from elsewhere."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

pytest.importorskip("mkdocs", reason="make docs installs MkDocs")

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "results/README.md", "datasets/README.md"]
# Attributes whose files a browser fetches by itself.
LOADED = {("img", "src"), ("script", "src"), ("link", "href"), ("iframe", "src"), ("source", "src")}


def build(repository: Path, to: Path) -> subprocess.CompletedProcess[str]:
    """The site of a repository, as `make docs` builds it."""
    command = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(to)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = build(ROOT, folder)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


class Found(HTMLParser):
    """The addresses of a page, and what can be jumped to in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[tuple[str, str, str]] = []
        self.names: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for key, value in attrs:
            if key in ("id", "name") and value:
                self.names.add(value)
            if key in ("href", "src") and value:
                self.addresses.append((tag, key, value))


def pages(site: Path) -> Iterator[tuple[Path, Found]]:
    for path in sorted(site.rglob("*.html")):
        if path.name != "404.html":  # its addresses are absolute: it is shown in the place of any page
            yield path, Found(path.read_text())


def broken(site: Path) -> list[str]:
    """Links of built pages to what is not there."""
    found = dict(pages(site))
    wrong = []
    for path, page in found.items():
        for _, _, address in page.addresses:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file():
                wrong.append(f"{path.relative_to(site)}: {address}")
            elif target in found and unquote(parts.fragment) not in found[target].names | {"", "__skip"}:
                wrong.append(f"{path.relative_to(site)}: {address}: no such place")
    return wrong


def test_every_page_is_there_at_its_path_in_the_repository(site: Path) -> None:
    for page in [*PAGES, *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]:
        assert (site / page.replace("README.md", "index.md").replace(".md", ".html")).is_file(), page


def test_links_and_files_of_built_pages_are_there(site: Path) -> None:
    assert broken(site) == []


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    loaded = [
        address
        for _, page in pages(site)
        for tag, key, address in page.addresses
        if (tag, key) in LOADED and urlsplit(address).scheme not in ("", "data")
    ]
    assert loaded == []
    for sheet in site.rglob("*.css"):
        assert not re.findall(r"""(?:@import|url\()\s*["']?(?:https?:)?//""", sheet.read_text()), sheet


def test_formulas_are_drawn(site: Path) -> None:
    source = (ROOT / "docs" / "mathematics.md").read_text()
    page = (site / "docs" / "mathematics.html").read_text()
    inline, blocks = re.findall(r"\$`[^`]+`\$", source), re.findall("^ *```math$", source, re.M)
    assert len(inline) > 100
    assert len(blocks) > 10
    assert page.count("<math ") == len(inline) + len(blocks)
    assert page.count('display="block"') == len(blocks)
    assert "$<" not in page


def test_the_api_has_every_name_that_its_page_asks_for(site: Path) -> None:
    comments = re.findall(r"<!-- ::: (\S+): (.*?) -->", (ROOT / "docs" / "api.md").read_text())
    names = Found((site / "docs" / "api.html").read_text()).names
    asked = {f"{module}.{name}" for module, several in comments for name in several.split()}
    assert len(asked) > 20
    assert asked <= names
    assert "admmctl.methods.method.Method.step" in names


def test_figures_of_pages_and_those_without_runs_are_shown(site: Path) -> None:
    shown = {address for _, _, address in Found((site / "docs" / "figures.html").read_text()).addresses}
    assert {"rivals/rivals-higgs.png", "figures/boundary.png"} <= shown


def test_search_knows_the_words_of_pages(site: Path) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text())
    places = {entry["location"].partition("#")[0] for entry in index["docs"]}
    assert {"index.html", "docs/methods.html", "docs/mathematics.html", "docs/api.html"} <= places
    assert any("Woodbury" in entry["text"] for entry in index["docs"])


def test_a_link_that_leads_nowhere_ends_the_build(tmp_path: Path) -> None:
    for name in ("mkdocs.yml", "docs", "scripts", "admmctl", "build/docs", *PAGES):
        source, target = ROOT / name, tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target)
        elif source.is_file():
            shutil.copy2(source, target)
    for text, complaint in (
        ("[gone](docs/gone.md)", "docs/gone.md"),
        ("[gone](docs/methods.md#gone)", "docs/methods.md#gone"),
    ):
        (tmp_path / "README.md").write_text((ROOT / "README.md").read_text() + f"\n{text}\n")
        done = build(tmp_path, tmp_path / "site")
        assert done.returncode != 0
        assert complaint in done.stderr
