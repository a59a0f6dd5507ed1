"""Lets the tests of this folder import ``known_flows``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
