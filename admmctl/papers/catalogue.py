"""Every figure and table of the five papers, in their order, and every claim."""

from admmctl.papers import convex, explained, hkust, taylor, trident, zhang
from admmctl.papers.claims import Claim
from admmctl.papers.entry import Entry

# Explanatory figures, then paper by paper.
CATALOGUE: dict[str, Entry] = {
    entry.name: entry for paper in (explained, taylor, trident, hkust, zhang, convex) for entry in paper.ENTRIES
}
CLAIMS: dict[str, Claim] = {
    claim.id: claim for paper in (taylor, trident, hkust, zhang, convex) for claim in paper.CLAIMS
}
