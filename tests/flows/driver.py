"""Runs the release flow as a process of its own: `python driver.py AGENT CANDIDATE POLICY`; it is killed."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from flows.release import release

release(sys.argv[1], sys.argv[2], policy=sys.argv[3])
