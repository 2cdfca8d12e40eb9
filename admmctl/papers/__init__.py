"""The papers: a file for each, with its experiments, its numbers and its own drawings."""

import admmctl.report  # noqa: F401  # before matplotlib is loaded: it is told there that figures are files
