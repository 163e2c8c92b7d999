# SPDX-License-Identifier: Apache-2.0
"""README.md is short, shows the two commands, and leads to everything else."""
import re

from paths import ROOT
import pytest

from vla_pruner_ros.backends import REGISTRY as BACKENDS
from vla_pruner_ros.core.pruners import REGISTRY

README = (ROOT / 'README.md').read_text(encoding='utf-8')
CONTENTS = (ROOT / 'docs' / 'README.md').read_text(encoding='utf-8')


def test_it_fits_into_200_lines():
    assert len(README.splitlines()) <= 200


def test_every_page_is_in_the_contents():
    pages = {one.name for one in (ROOT / 'docs').glob('*.md')} - {'README.md'}
    assert {one for one in pages if f']({one})' not in CONTENTS} == set()


def test_every_pruner_and_every_backend_is_described():
    methods = (ROOT / 'docs' / 'algorithms.md').read_text().split('## The methods')[1]
    table = methods.split('\n## ')[0]
    assert {name for name in REGISTRY if f'| `{name}`' not in table} == set()
    assert {name for name in BACKENDS if f'`{name}`' not in README} == set()


def test_every_extra_says_what_it_is_for():
    extras = re.findall(r"^    '([\w-]+)': ", (ROOT / 'setup.py').read_text(), re.M)
    assert len(extras) > 8
    section = README.split('### Extras')[1].split('\n## ')[0]
    assert [one for one in extras if f'`{one}`' not in section] == []


@pytest.mark.parametrize('folder', ['launch', 'config', 'resource', 'docs', 'test'])
def test_every_folder_of_the_repository_is_in_the_tree(folder):
    assert f'{folder}/' in README.split('## Files')[1].split('```')[1]


@pytest.mark.parametrize('target', ['demo', 'test'])
def test_make_targets_exist(target):
    assert re.search(rf'^{target}:', (ROOT / 'Makefile').read_text(encoding='utf-8'), re.M)
    assert f'make {target}' in README


def test_what_the_changelog_says_has_moved_is_there_now():
    moved = (ROOT / 'CHANGELOG.md').read_text(encoding='utf-8').split('\n## ')[1]
    names = re.findall(r'\| `(?:vla_pruner_ros\.)?(\w+(?:\.\w+)+)` \|$', moved, re.M)
    assert len(names) > 50
    assert [one for one in names
            if not (ROOT / 'vla_pruner_ros' / (one.replace('.', '/') + '.py')).exists()] == []
