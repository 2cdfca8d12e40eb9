"""The page's part on claims: how many have which verdict, and a card for each with what it was told from."""

import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from admmctl.report.gallery import figure_id
from admmctl.report.html import anchor, data_uri
from admmctl.report.sidecar import Figure, are_among
from admmctl.report.verdict import Judged, Verdict

_WIDTH = 320  # pixels of a small picture
_COLOURS = 32  # of it: enough for lines, and a quarter of the bytes


@dataclass(frozen=True)
class Picture:
    """The figure that shows a claim: its number and place in the page, and a small image where it has one."""

    number: str
    title: str
    href: str
    image: str | None


@dataclass(frozen=True)
class ClaimCard:
    """A claim on the page; ``look`` is the CSS class of its verdict."""

    id: str
    look: str
    claim: Judged
    picture: Picture | None


@dataclass(frozen=True)
class Claims:
    """The claims of the page: for each verdict its look, how many there are, and the words; cards by paper.

    ``told``: how many have a verdict.
    """

    tally: list[tuple[str, int, str]]
    told: int
    papers: dict[str, list[ClaimCard]]

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(map(len, self.papers.values()))


def told_from(claims: Sequence[Judged], folders: Sequence[Path]) -> list[Judged]:
    """The claims that were told from one of these runs, or more."""
    return [claim for claim in claims if are_among(claim.runs, folders)]


def part(claims: Sequence[Judged], figures: Sequence[Figure]) -> Claims | None:
    """The page's part on these claims, in their order, with small pictures of the page's ``figures``."""
    if not claims:
        return None
    shown = {claim.figure for claim in claims}
    pictures = {
        figure.name: _picture(figure, place) for place, figure in enumerate(figures) if figure.name in shown
    }
    papers: dict[str, list[ClaimCard]] = {}
    for claim in claims:
        card = ClaimCard(
            f"claim-{anchor(claim.id)}", anchor(claim.verdict), claim, pictures.get(claim.figure or "")
        )
        papers.setdefault(claim.paper, []).append(card)
    many = Counter(claim.verdict for claim in claims)
    tally = [
        (anchor(verdict), many[verdict], verdict.value if many[verdict] == 1 else verdict.of_many)
        for verdict in Verdict
    ]
    return Claims(tally, len(claims) - many[Verdict.UNTOLD], papers)


def _picture(figure: Figure, place: int) -> Picture:
    """The picture of the figure at that place of the page."""
    image = thumbnail(figure.paths["png"]) if "png" in figure.paths else None
    return Picture(figure.number, figure.shows, f"#{figure_id(place)}", image)


def thumbnail(png: Path) -> str | None:
    """A small copy of a picture, as an address; None where it is damaged."""
    try:
        with Image.open(png) as image:
            small = image.convert("RGB")
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
        return None  # the page shows it as it is among the figures
    small.thumbnail((_WIDTH, _WIDTH), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    small.quantize(_COLOURS, dither=Image.Dither.NONE).save(file, "png", optimize=True)
    return data_uri(file.getvalue(), "image/png")
