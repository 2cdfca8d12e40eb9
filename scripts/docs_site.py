"""Hooks of MkDocs for the docs site: what GitHub shows of a page, the site shows too.

A page's address is its path in the repository, so that its links work unchanged in both places. A file of code
that a page links to is a page of its own on the site. GitHub's marks for mathematics become MathML, which browsers
draw without a script. Comments in a page, which GitHub hides, say where the site has more: classes, figures.
"""

import io
import json
import posixpath
import re
import subprocess
import sys
from importlib.resources import files as resources
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont
from latex2mathml.converter import convert
from markdown import Markdown
from markdown.extensions import Extension
from markdown.inlinepatterns import InlineProcessor
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "results/README.md", "datasets/README.md")
ALONE = ("README.md", "docs/mathematics.md")  # pages with no others beside them
FIGURES = (
    "neuron",
    "activations",
    "polynomials-parameters",
    "polynomials-samples",
    "features",
    "swissroll",
    "boundary",
)
LANGUAGES = {
    ".py": "python",
    ".yaml": "yaml",
    ".yml": "yaml",
    ".toml": "toml",
    ".sh": "bash",
    "": "text",
    ".ipynb": "json",
}
# Latin, Greek, primes, arrows, operators, brackets; italic Latin, monospace, italic Greek.
LETTERS = (
    (0x20, 0x17F),
    (0x300, 0x400),
    (0x2010, 0x2060),
    (0x2100, 0x2340),
    (0x27E6, 0x27F0),
    (0x1D434, 0x1D468),
    (0x1D670, 0x1D6A6),
    (0x1D6E2, 0x1D71C),
)
LINK = re.compile(r"\]\(([^)\s:#]+)(#[^)\s]*)?\)")
FENCE = re.compile(r"^(```[^\n]*\n.*?^```)$", re.M | re.S)


def outside_fences(text: str, pattern: re.Pattern[str], replacement: Any) -> str:
    """``pattern.sub`` of all of a page but its blocks of code."""
    parts = FENCE.split(text)
    parts[::2] = [pattern.sub(replacement, part) for part in parts[::2]]
    return "".join(parts)


def code_of(target: str, page: str) -> str | None:
    """The path in the repository of the code that a link of ``page`` leads to; None for other links."""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(page), target))
    return path if (ROOT / path).is_file() and Path(path).suffix in {*LANGUAGES, ".ipynb"} else None


def shown(path: Path) -> str:
    """The page of a file of code, or of a notebook: its cells."""
    if path.suffix != ".ipynb":
        return f"# {path.relative_to(ROOT)}\n\n````{LANGUAGES[path.suffix]}\n{path.read_text()}\n````\n"
    cells = [(cell["cell_type"], "".join(cell["source"])) for cell in json.loads(path.read_text())["cells"]]
    return "\n\n".join(f"```python\n{text}\n```" if kind == "code" else text for kind, text in cells)


# --- where pages are


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Give every page its path in the repository, and add those that lie outside docs/, linked code, figures."""
    for file in [file for file in files if file.src_dir == config.docs_dir]:
        files.remove(file)
        add(files, config, f"docs/{file.src_uri}", abs_src_path=file.abs_src_path)
    for name in PAGES:
        add(files, config, name, abs_src_path=str(ROOT / name))
    linked: set[str] = set()
    for page in files.documentation_pages():
        for target, _ in LINK.findall(FENCE.sub("", page.content_string)):
            if (path := code_of(target, page.src_uri)) is not None:
                linked.add(path)
    for path in sorted(linked):
        add(files, config, f"{path}.md", content=shown(ROOT / path), inclusion=InclusionLevel.NOT_IN_NAV)
    add(files, config, "docs/site/mathematics.woff", content=font())
    for drawn in draw():
        add(files, config, f"docs/figures/{drawn.name}", abs_src_path=str(drawn))
    return files


def add(files: Files, config: MkDocsConfig, path: str, **content: Any) -> None:
    files.append(File.generated(config, path, **content))


def draw() -> list[Path]:
    """Draw the figures that take no run, unless no code has changed since they were drawn."""
    folder = ROOT / "build" / "docs"
    pictures = [folder / f"{name}.png" for name in FIGURES]
    code = max(path.stat().st_mtime for path in (ROOT / "admmctl").rglob("*.py"))
    if not all(path.is_file() and path.stat().st_mtime > code for path in pictures):
        command = [sys.executable, "-m", "admmctl", "figures", *FIGURES, "--output", str(folder)]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return pictures


# --- what GitHub's Markdown has, and more for the site


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links to code, names of blocks, and what comments say is to be shown."""
    if page.file.src_uri in ALONE:
        page.meta["hide"] = ["navigation"]

    def link(found: re.Match[str]) -> str:
        code = code_of(found[1], page.file.src_uri)
        return found[0] if code is None else f"]({found[1]}.md)"

    markdown = outside_fences(markdown, LINK, link)
    markdown = outside_fences(markdown, re.compile(r"<!-- ::: (\S+): (.*?) -->", re.S), module)
    markdown = markdown.replace("<!-- figures -->", figures())
    return re.sub(r"^```(\w+) ([\w.-]+)$", r'```\1 title="\2"', markdown, flags=re.M)


def module(comment: re.Match[str]) -> str:
    """What a program needs of a module, by mkdocstrings."""
    return "".join(f"\n\n::: {comment[1]}.{name}" for name in comment[2].split()) + "\n"


def figures() -> str:
    """Those of the pages, then those that take no run."""
    found = []
    for page in sorted((ROOT / "docs").glob("*.md")):
        pictures = re.findall(r"^!\[[^\]]*\]\([^)]*\.png\)$", FENCE.sub("", page.read_text()), re.M)
        if pictures:
            title = page.read_text().partition("\n")[0].removeprefix("# ")
            found += [f"## [{title}]({page.name})", *pictures]
    found.append("## Drawn from points that take no run")
    for name in FIGURES:
        found += [f"### {name}", f"![{name}](figures/{name}.png)"]
    return "\n\n".join(found)


# --- mathematics


class GitHubMathematics(Extension):
    """``$`x`$`` in the text, and blocks ```math."""

    def extendMarkdown(self, md: Markdown) -> None:
        md.inlinePatterns.register(Inline(r"\$`([^`]+)`\$", md), "mathematics", 200)


class Inline(InlineProcessor):
    def handleMatch(self, m: re.Match[str], data: str) -> tuple[Any, int, int]:
        return self.md.htmlStash.store(f'<span class="formula">{mathml(m[1])}</span>'), m.start(0), m.end(0)


def mathml(text: str, display: str = "inline") -> str:
    """A formula as MathML."""
    tree = ElementTree.fromstring(convert(" ".join(text.split()), display=display))
    for element in tree.iter():
        if element.get("mathvariant") == "monospace":  # browsers know no such attribute, but letters of that kind
            del element.attrib["mathvariant"]
            element.text = "".join(chr(0x1D68A + ord(letter) - ord("a")) for letter in element.text or "")
    ElementTree.register_namespace("", "http://www.w3.org/1998/Math/MathML")
    return ElementTree.tostring(tree, encoding="unicode")


def font() -> bytes:
    """The letters and signs of formulas, of STIX Two Math: many machines have no font of mathematics."""
    whole = TTFont(str(resources("ziamath").joinpath("fonts", "STIXTwoMath-Regular.ttf")))
    subset = Subsetter(Options(notdef_outline=True))
    subset.populate(unicodes=[code for low, high in LETTERS for code in range(low, high)])
    subset.subset(whole)
    whole.flavor = "woff"
    made = io.BytesIO()
    whole.save(made)
    return made.getvalue()


def block(source: str, language: str, css_class: str, options: Any, md: Markdown, **_: Any) -> str:
    """A fence of superfences."""
    return f'<div class="mathematics">{mathml(source, "block")}</div>'


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    config.markdown_extensions.append(GitHubMathematics())
    fences = {"name": "math", "class": "mathematics", "format": block}
    config.mdx_configs.setdefault("pymdownx.superfences", {})["custom_fences"] = [fences]
    return config
