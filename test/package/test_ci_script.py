# SPDX-License-Identifier: Apache-2.0
"""What .ci/run runs, which status it ends with and what its last line is."""
import os
import subprocess

from paths import ROOT
import pytest

PASSED = '==== 1900 passed in 300.00s ===='
FAILED = '==== 2 failed, 1898 passed in 300.00s ===='
FEW, FEWER = '==== 120 passed in 40.00s ====', '==== 1 failed, 119 passed in 41.00s ===='
MAKE = """#!/bin/bash
echo "$*" >> "{folder}/asked"
case "$*" in
    'test PYTEST_ARGS=-k x') echo '{suite}'; exit {suite_code} ;;
    *KERNELS={broken}*) echo '{fewer}'; exit 2 ;;
    test-kernels*) echo '{few}' ;;
esac
"""


def run(folder, suite=PASSED, suite_code=0, broken='none'):
    """Status, last line and what was asked of ``make``."""
    for name, text in (('make', MAKE.format(folder=folder, suite=suite, suite_code=suite_code,
                                            broken=broken, few=FEW,
                                            fewer=FEWER)),
                       ('apt-get', '#!/bin/bash\n')):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    done = subprocess.run(
        ['bash', ROOT / '.ci' / 'run'], capture_output=True, text=True, timeout=60,
        env={**os.environ, 'PATH': f'{folder}:{os.environ["PATH"]}', 'PYTEST_ARGS': '-k x'})
    return (done.returncode, done.stdout.splitlines()[-1],
            (folder / 'asked').read_text().splitlines())


def test_parity_is_tested_again_on_older_kernels_and_the_suite_has_the_last_line(tmp_path):
    status, last, asked = run(tmp_path)
    assert (status, last) == (0, PASSED)
    assert [one.split(' PYTEST')[0] for one in asked] == [
        'test', 'test-kernels KERNELS=default', 'test-kernels KERNELS=avx2']


@pytest.mark.parametrize('broken', ['default', 'avx2'])
def test_a_failure_on_older_kernels_alone_counts_and_is_the_last_line(tmp_path, broken):
    status, last, asked = run(tmp_path, broken=broken)
    assert (status, last) == (2, FEWER)
    assert len(asked) == 3


def test_the_first_failure_is_the_last_line(tmp_path):
    assert run(tmp_path, FAILED, 2, broken='avx2')[:2] == (2, FAILED)


def test_a_run_without_a_closing_line_is_said(tmp_path):
    assert run(tmp_path, 'no rule to make target', 2)[:2] == (2, 'no closing line of pytest')
