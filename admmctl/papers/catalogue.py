"""Every figure and table of the five papers, in their order, and every claim; then those of our own studies."""

from admmctl.papers import (
    convex,
    depth,
    explained,
    hkust,
    lengths,
    rivals,
    sketch,
    taylor,
    taylor_claims,
    trident,
    trident_claims,
    zhang,
    zhang_claims,
)
from admmctl.papers.claims import Claim
from admmctl.papers.entry import Entry

# Explanatory figures, then paper by paper.
_FIGURES = (explained, taylor, depth, sketch, trident, hkust, zhang, convex, rivals, lengths)
_CLAIMS = (taylor_claims, trident_claims, hkust, zhang_claims, convex, rivals, lengths)
CATALOGUE: dict[str, Entry] = {entry.name: entry for paper in _FIGURES for entry in paper.ENTRIES}
CLAIMS: dict[str, Claim] = {claim.id: claim for paper in _CLAIMS for claim in paper.CLAIMS}
