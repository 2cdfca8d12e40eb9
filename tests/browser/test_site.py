"""The docs site in headless Chromium, as files: no page is wider than a phone or a desktop, and search finds."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support.chromium import FLAGS, installed

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]

# At the end of every page: how wide it is, for the page that shows it in a frame.
MEASURE = """<script>addEventListener("message", (event) => {
  if (event.data === "measure") event.source.postMessage([innerWidth, document.documentElement.scrollWidth], "*");
});</script></body>"""
# Shows pages one after another in a frame, which may be narrower than Chromium's window.
FRAME = """<!doctype html><meta charset="utf-8"><body><script>
const next = (target, what) => new Promise((done) => target.addEventListener(what, done, {once: true}));
(async () => {
  const found = {};
  for (const page of %s) {
    const frame = document.createElement("iframe");
    frame.width = %d; frame.height = 800; frame.style.border = 0; frame.src = page;
    document.body.append(frame);
    await next(frame, "load");
    const answer = next(window, "message");
    frame.contentWindow.postMessage("measure", "*");
    found[page] = (await answer).data;
    frame.remove();
  }
  const out = document.createElement("output");
  out.id = "answer";
  out.textContent = JSON.stringify(found);
  document.body.append(out);
})();
</script>"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the built site whose pages say how wide they are."""
    if not (ROOT / "site" / "index.html").is_file():
        pytest.skip("there is no site: make docs builds it")
    folder = tmp_path_factory.mktemp("browser") / "site"
    shutil.copytree(ROOT / "site", folder)
    for page in folder.rglob("*.html"):
        page.write_text(page.read_text().replace("</body>", MEASURE))
    return folder


def opened(address: str, folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """A page after all that its scripts do."""
    patience = "--virtual-time-budget=60000"
    profile = f"--user-data-dir={folder / 'profile'}"
    kept = [flag for flag in FLAGS if "virtual-time" not in flag]
    command = [installed(), *kept, patience, profile, *flags, "--dump-dom", address]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)


@pytest.mark.parametrize("width", [390, 1280])
def test_no_page_is_wider_than_the_window(site: Path, tmp_path: Path, width: int) -> None:
    pages = [str(path.relative_to(site)) for path in sorted(site.rglob("*.html")) if path.name != "404.html"]
    assert len(pages) > 15
    harness = site / f"frame-{width}.html"
    harness.write_text(FRAME % (json.dumps(pages), width))
    done = opened(harness.as_uri(), tmp_path)
    harness.unlink()
    written = re.search('<output id="answer">(.*?)</output>', done.stdout)
    assert written, done.stderr
    found: dict[str, list[Any]] = json.loads(html.unescape(written[1]))
    assert list(found) == pages
    assert {inner for inner, _ in found.values()} == {width}
    assert [page for page, (inner, wide) in found.items() if wide > inner] == []


@pytest.mark.parametrize(
    ("words", "place"),
    [("woodbury", "docs/mathematics.html"), ("reduce_scatter", "docs/api.html"), ("doctor", "index.html")],
)
def test_search_finds_in_pages_that_are_opened_as_files(
    site: Path, tmp_path: Path, words: str, place: str
) -> None:
    done = opened(f"{(site / 'index.html').as_uri()}?q={words}", tmp_path)
    links = re.findall(r'<a href="([^"?]*)[^"]*" class="md-search-result__link"', done.stdout)
    assert (site / place).as_uri() in links
    assert "Uncaught" not in done.stderr
    assert "net::ERR" not in done.stderr
