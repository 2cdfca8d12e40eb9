"""The scripts of the project as modules."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import claims_page
import made_up_data
import rehearsal
import rivals_page

__all__ = ["claims_page", "made_up_data", "rehearsal", "rivals_page"]
