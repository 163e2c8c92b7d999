# SPDX-License-Identifier: Apache-2.0
"""Where things are: this checkout, the helpers, and recorded data that may lie beside it."""
from pathlib import Path

HELPERS = Path(__file__).resolve().parent
TESTS = HELPERS.parent
ROOT = TESTS.parent
PACKAGE = ROOT / 'vla_pruner_ros'
SHARED = ROOT.parent / 'shared' / 'data'
