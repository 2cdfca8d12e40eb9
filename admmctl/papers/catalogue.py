"""Every figure and table of the five papers, in their order: explanatory figures, then paper by paper."""

from admmctl.papers import convex, explained, hkust, taylor, trident, zhang
from admmctl.papers.entry import Entry

CATALOGUE: dict[str, Entry] = {
    entry.name: entry for paper in (explained, taylor, trident, hkust, zhang, convex) for entry in paper.ENTRIES
}
