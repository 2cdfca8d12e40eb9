"""The papers: a file for each, with its experiments, its numbers and its own drawings."""

import admmctl.report  # noqa: F401  # sets matplotlib's backend, before matplotlib is loaded
