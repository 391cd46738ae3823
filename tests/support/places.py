"""Where things are."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "scripts"
BENCHMARKS = ROOT / "benchmarks"
BIN = Path(sys.executable).parent  # of the environment
