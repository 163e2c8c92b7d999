# SPDX-License-Identifier: Apache-2.0
"""Results are written whole or not at all, and places are tried before the work."""
import subprocess
import sys

from paths import ROOT
import pytest

from vla_pruner_ros.core.errors import ConfigError, OutputError
from vla_pruner_ros.runtime.output_files import check_file, check_folder, write_text, written_aside

FULL = """
import resource, sys
from pathlib import Path
from vla_pruner_ros.core.errors import VlaPrunerError
from vla_pruner_ros.runtime.output_files import check_folder, write_text
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))  # no file may become longer
folder = Path(sys.argv[1])
path = folder / "report.md"
for attempt in (lambda: check_folder(folder), lambda: write_text(path, "x" * 5000)):
    try:
        attempt()
    except VlaPrunerError as error:
        print(type(error).__name__, error)
"""


def test_trying_a_folder_leaves_no_trace(tmp_path):
    (tmp_path / 'there').mkdir()
    check_folder(tmp_path / 'there')
    check_folder(tmp_path / 'new' / 'deep')
    check_file(tmp_path / 'other' / 'numbers.json')
    assert [path.name for path in tmp_path.rglob('*')] == ['there']


@pytest.mark.parametrize('place', ['/proc/out', '/dev/null/out', '/proc/a/b/c'])
def test_a_place_that_cannot_be_written_is_named(place, tmp_path):
    from pathlib import Path
    with pytest.raises(ConfigError, match=f'--out {place} cannot be written: .*choose another'):
        check_folder(Path(place))


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(ConfigError, match='is a folder; accepted: the name of a file'):
        check_file(tmp_path)


def test_a_file_that_cannot_be_finished_leaves_the_one_before(tmp_path):
    path = tmp_path / 'report.json'
    write_text(path, 'before')
    with pytest.raises(OutputError, match='report.json cannot be written: No space left'):
        with written_aside(path) as aside:
            assert aside.suffix == '.json'
            aside.write_text('hal')
            raise OSError(28, 'No space left on device')
    assert path.read_text() == 'before' and list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_noticed_before_and_after(tmp_path):
    (tmp_path / 'report.md').write_text('before')
    done = subprocess.run([sys.executable, '-c', FULL, str(tmp_path)], cwd=ROOT, text=True,
                          capture_output=True)
    first, second = done.stdout.splitlines()
    assert first.startswith('ConfigError --out ') and 'File too large' in first
    assert second.startswith('OutputError ') and 'report.md cannot be written' in second
    assert (tmp_path / 'report.md').read_text() == 'before'
    assert len(list(tmp_path.iterdir())) == 1
