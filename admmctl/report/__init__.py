"""Tables, statistics and figures, from recorded runs only."""

import os

# Figures are files. matplotlib reads this as it is loaded, and one meant for a screen may not even exist here.
os.environ["MPLBACKEND"] = "agg"
