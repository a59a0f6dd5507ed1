"""Lets the tests of this folder import ``known_models``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
