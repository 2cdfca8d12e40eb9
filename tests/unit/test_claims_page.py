"""The page of all claims, docs/claims.md, and the script that writes it."""

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from support.scripts import claims_page

from admmctl.papers.catalogue import CLAIMS
from admmctl.report.verdict import Judged, Verdict

PAGE = Path(__file__).parents[2] / "docs" / "claims.md"


@pytest.fixture
def judged(tmp_path: Path) -> dict[str, Any]:
    """A made-up claim that is told from one run."""
    run = tmp_path / "admm-p1-s0"
    run.mkdir()
    (run / "environment.json").write_text(json.dumps({"cores": 2, "cpu": ["AMD EPYC"]}))
    text = "It is so, " + "very much " * 20 + "so."
    made = Judged(
        id="made",
        paper="Made and Up",
        where="section 1",
        text=text,
        verdict=Verdict.HOLDS,
        evidence="admm 98.43 % (98.40 % to 98.47 %, n=6)",
        needs="",
        differs="all of it",
        rerun="",
        figure=None,
        runs=[str(run)],
    )
    return asdict(made)


def test_it_has_the_verdict_what_it_was_told_from_and_the_machine(judged):
    page = claims_page.page([judged, {**judged, "id": "other", "paper": "Others", "verdict": "does not hold"}])
    assert "| Made and Up | 1 | 1 | 0 | 0 | 0 |" in page
    assert "| all | 2 | 1 | 0 | 1 | 0 |" in page
    assert "a machine with 2 cores (AMD EPYC)" in page.replace("\n", " ")
    assert "- **Holds:** It is so, very much" in page
    assert "  Measured: admm 98.43 % (98.40 % to 98.47 %, n=6).\n  Differs: all of it." in page
    assert max(map(len, page.splitlines())) <= claims_page.WIDTH


def test_a_run_on_some_cores_of_a_machine_makes_no_other_machine(judged, tmp_path):
    runs = []
    for place, (cores, cpu) in enumerate([(1, "AMD EPYC"), (2, "AMD EPYC"), (1, "Intel Xeon")]):
        run = tmp_path / f"run-{place}"
        run.mkdir()
        (run / "environment.json").write_text(json.dumps({"cores": cores, "cpu": [cpu]}))
        runs.append(str(run))
    expected = "a machine with 2 cores (AMD EPYC) and a machine with 1 core (Intel Xeon)"
    assert claims_page.machine([{**judged, "runs": runs}]) == expected


def test_without_a_run_there_is_no_page(judged):
    with pytest.raises(SystemExit, match="admmctl claims --run"):
        claims_page.page([{**judged, "runs": []}])


def test_the_page_in_docs_has_every_claim_of_the_catalogue():
    ids = re.findall(r"; `([a-z0-9-]+)`\)", PAGE.read_text().replace("\n ", ""))
    assert ids == [claim.id for claim in CLAIMS.values() if not claim.paper.ours]
