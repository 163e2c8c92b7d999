# SPDX-License-Identifier: Apache-2.0
"""Every code block of README.md and docs/*.md is read; what needs no robot and no GPU is run.

A block says its language, and ``needs=WORD`` where it cannot be run here.  Commands of every block
and of running text are parsed by the programs that they name (options, parameters, launch
arguments, targets, extras); those of blocks without ``needs`` are then run, shortened by
``SHORTER``.  The last test prints how many of each there were.
"""
from collections import Counter
import os
from pathlib import Path
import subprocess
import sys

from doc_blocks import (
    all_blocks,
    block_commands,
    inline_commands,
    LANGUAGES,
    NEEDS,
    pages,
    shell_commands,
    split_page,
)
from doc_commands import check, DocError
from paths import ROOT
import pytest
from skipped import shared_file
import yaml

from vla_pruner_ros.cli.main import main
from vla_pruner_ros.core.parameter_declarations import Parameters, table_by_name
from vla_pruner_ros.runtime.parameter_files import read_file

BLOCKS, IN_BLOCKS, INLINE = all_blocks(), block_commands(), inline_commands()
#: First words of a command -> what is added so that it takes seconds.
SHORTER = {
    ('vla-pruner', 'params'): (),
    ('vla-pruner', 'eval', '--quick'): ('--budgets', '25%'),
    ('vla-pruner', 'eval', '--claims'): ('--claims', 'a'),
    ('vla-pruner', 'eval', '--sweep-reuse'): (),
}
SHORT_EVAL = ('--tasks', 'reach-behind', '--episodes', '1', '--jobs', '1', '--no-plots')


PAGE = """Text with `vla-pruner params` in it.
```bash needs=robot
T="a b"; echo never
T="a b"
sudo X=1 run --tasks $T \\
    --more && . there   # a remark
```
```
no language
```
"""


def test_a_page_is_split_into_blocks_with_their_marks_and_commands():
    (first, second), rest = split_page('page', PAGE)
    assert (first.line, first.language, first.needs) == (2, 'bash', 'robot')
    assert (second.language, second.text) == ('', 'no language')
    assert '`vla-pruner params`' in rest and 'never' not in rest
    assert list(shell_commands(first.text))[-2:] == [
        ('run', '--tasks', 'a', 'b', '--more'), ('.', 'there')]
    with pytest.raises(ValueError, match='page:1: the block has no end'):
        split_page('page', '```bash')


def runnable(command):
    return command.words[0] == 'vla-pruner' and not command.block.needs


def of(language, needs=None):
    return [one for one in BLOCKS
            if one.language == language and (needs is None or one.needs == needs)]


def test_every_block_says_its_language_and_a_known_reason_not_to_be_run():
    assert len(BLOCKS) > 20
    assert [str(one) for one in BLOCKS if one.language not in LANGUAGES] == []
    assert [str(one) for one in BLOCKS if one.needs and one.needs not in NEEDS] == []


@pytest.mark.parametrize('command', IN_BLOCKS + INLINE, ids=str)
def test_a_command_would_be_accepted(command):
    check(command.words)


@pytest.mark.parametrize('text', [
    'vla-pruner params --jaml', 'vla-pruner relpay BAG', 'vla-pruner replay BAG --out',
    'vla-pruner eval --config config/no_such_file.yaml',
    'vla-pruner check DIR --bag BAG --set token_budged=64',
    'vla-pruner check DIR --bag BAG --set token_budget=-1',
    'python -m vla_pruner_ros.sim.evaluate', 'python -m vla_pruner_ros.core.types',
    'python -m vla_pruner_ros.training.success_rate --episode-count 3', 'python docs/no_script.py',
    'ros2 launch vla_pruner_ros pruned_policy.launch.py camera_topic:=/image',
    'ros2 launch vla_pruner_ros pruned_policy.launch.py dry_run:=perhaps',
    'ros2 launch vla_pruner_ros open_loop.launch.py',
    'ros2 launch vla_pruner_ros pruned_policy.launch.py robot:=ur5',
    'ros2 topic echo /pruned_policy/dry_run/action_chunks',
    'ros2 run vla_pruner_ros robot', 'ros2 run vla_pruner_ros sim_robot --ros-args -p tasks:=x',
    'ros2 run vla_pruner_ros pruned_policy --ros-args -p token_budget:=many',
    'ros2 param set /pruned_policy token_budged 64', 'ros2 param set /pruned_policy device cuda',
    'ros2 param set /sim_robot image_size 100', 'ros2 topic echo /sim_robot/episodes',
    'make demonstration', 'make demo DEMO_ARG=x', 'make demo DEMO_ARGS="--budget all"',
    "pip install '.[simulator]'", 'frobnicate all'])
def test_a_command_that_is_wrong_is_noticed(text):
    (words,) = shell_commands(text)
    with pytest.raises(DocError):
        check(words)


@pytest.mark.parametrize('command', [one for one in IN_BLOCKS if runnable(one)], ids=str)
def test_a_command_that_needs_no_robot_runs(command, tmp_path, capsys):
    added = next(value for key, value in SHORTER.items() if command.words[:len(key)] == key)
    words = [*command.words[1:], *added]
    if words[0] == 'eval':
        pytest.importorskip('mujoco')
        words += [*SHORT_EVAL, '--out', str(tmp_path / 'out')]
    assert main(words) == 0
    assert capsys.readouterr().out


@pytest.mark.parametrize('command', [one for one in IN_BLOCKS if one.words[:2] ==
                                     ('vla-pruner', 'replay')][:1], ids=str)
def test_a_replay_runs_where_a_recording_lies_beside_the_checkout(command, tmp_path, capsys,
                                                                  monkeypatch):
    bag = shared_file('rosbag2/droid_00000000_rosbag2_mcap')
    monkeypatch.chdir(ROOT)
    words = [str(bag) if one == 'BAG' else one for one in command.words[1:]]
    assert main([*words, '--limit', '1', '--no-pictures', '--budgets', 'all,49',
                 '--out', str(tmp_path / 'out')]) == 0
    assert '49' in capsys.readouterr().out


@pytest.mark.parametrize('block', of('python', ''), ids=str)
def test_python_runs_in_a_fresh_interpreter(block, tmp_path):
    if 'transformers' in block.text:
        pytest.importorskip('transformers')
    done = subprocess.run([sys.executable, '-c', block.text], cwd=tmp_path, text=True,
                          env={**os.environ, 'PYTHONPATH': str(ROOT)}, capture_output=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout
    if 'PolicyEngine' in block.text:  # the text below the block says what it prints
        assert [line.strip() for line in done.stdout.splitlines()] == (
            3 * ['(8, 4) 196 of 196 tokens warm_up'] + 2 * ['(8, 4) 49 of 196 tokens'])


@pytest.mark.parametrize('block', of('yaml'), ids=str)
def test_yaml_is_yaml_and_parameters_are_accepted(block, tmp_path):
    content = yaml.safe_load(block.text)
    if '/**' in content or set(content) & set(table_by_name()):
        path = tmp_path / 'parameters.yaml'
        path.write_text(block.text)
        Parameters().changed(read_file(path))


def test_paths_in_backticks_exist():
    files = [str(path.relative_to(ROOT)) for path in ROOT.rglob('*.*')
             if not set(path.parts) & {'.git', '.venv', 'out', 'build'}]
    missing = []
    for page in pages():
        _, text = split_page(page.name, page.read_text(encoding='utf-8'))
        for name in named_files(text):
            if not any(Path(one).match(name) for one in files):
                missing.append(f'{page.name}: {name}')
    assert missing == []


def named_files(text):
    """Paths with a folder in backticks that are files of ours by their ending."""
    for word in (one for piece in text.split('`')[1::2] for one in piece.split()):
        if '/' in word and word.endswith(('.py', '.yaml', '.json', '.md', '.xml', '.txt')):
            if not word.startswith(('/', '.', 'PATH')) and word.upper() != word:
                yield word.replace('...', '*')


def test_links_lead_to_files_and_headings():
    wrong = []
    for page in pages():
        for target in links(page.read_text(encoding='utf-8')):
            name, _, heading = target.partition('#')
            path = page.parent / name if name else page
            if not path.exists() or (heading and heading not in headings(path)):
                wrong.append(f'{page.name}: {target}')
    assert wrong == []


def links(text):
    return [one.partition(')')[0] for one in text.split('](')[1:] if not one.startswith('http')]


def headings(path):
    """Anchors of a page, as GitHub makes them."""
    return {''.join(c for c in line.lstrip('# ').lower() if c.isalnum() or c in ' -')
            .replace(' ', '-') for line in path.read_text().splitlines() if line.startswith('#')}


def test_nothing_is_skipped_in_silence(capsys):
    kinds = Counter(one.language + (f' ({NEEDS[one.needs]} needed)' if one.needs else '')
                    for one in BLOCKS)
    parsed = Counter(one.words[0] for one in IN_BLOCKS if one.block.needs or not runnable(one))
    run = [one for one in IN_BLOCKS if runnable(one)]
    # every command of a block without needs is run, dry (make), or nothing of ours
    assert {one.words[0] for one in IN_BLOCKS if not one.block.needs and not runnable(one)} <= {
        'make', 'pip', '.'}
    assert len(run) >= 4 and of('python', '')
    with capsys.disabled():
        print(f'\ncode blocks: {dict(kinds)}; commands in them: {len(run)} run, only parsed '
              f'{dict(parsed)}; in running text: {len(INLINE)} parsed')
