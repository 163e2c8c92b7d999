# SPDX-License-Identifier: Apache-2.0
"""The example that users copy from runs as it stands and says what it shows."""
import runpy

from paths import ROOT
import pytest

pytest.importorskip('transformers')


def test_the_example_prunes_after_the_warm_up(capsys):
    runpy.run_path(str(ROOT / 'docs' / 'examples' / 'prune_a_transformers_model.py'),
                   run_name='__main__')
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(', ')[0] for line in lines[:6]] == [
        *[f'step {number}: 64 of 64 visual tokens (warm_up)' for number in range(3)],
        *[f'step {number}: 16 of 64 visual tokens' for number in range(3, 6)]]
    assert '21 rows in the cut layers' in lines[5]
