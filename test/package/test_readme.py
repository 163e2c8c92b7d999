# SPDX-License-Identifier: Apache-2.0
"""The README says what the code does: parameter table, pruners, files, commands."""
import re

from paths import ROOT
import pytest

from vla_pruner_ros.core.pruners import REGISTRY
from vla_pruner_ros.runtime.parameter_files import markdown

README = (ROOT / 'README.md').read_text(encoding='utf-8')


def test_parameter_table_is_the_one_that_the_code_prints():
    begin, end = '<!-- parameters: begin -->', '<!-- parameters: end -->'
    table = README.split(begin)[1].split(end)[0].strip()
    assert table == markdown().strip(), (
        'paste the output of `vla-pruner params` between the two markers')


def test_every_pruner_is_listed():
    section = README.split('### Pruners')[1].split('###')[0]
    assert {name for name in REGISTRY if f'`{name}`' not in section} == set()


def test_links_lead_to_files():
    targets = re.findall(r'\]\((?!https?:)([^)#]+)\)', README)
    assert targets
    assert [one for one in targets if not (ROOT / one).exists()] == []


def test_every_path_of_the_file_tree_exists():
    tree = README.split('## Files')[1].split('```')[1]
    stack, missing, seen = [], [], 0
    for line in tree.splitlines():
        if not line.strip():
            continue
        depth = (len(line) - len(line.lstrip(' '))) // 2
        del stack[depth:]
        names = re.split(r'\s{2,}', line.strip())[0].split()
        for name in names:
            seen += 1
            if not (ROOT / '/'.join((*stack, name))).exists():
                missing.append('/'.join((*stack, name)))
        stack.append(names[0].rstrip('/'))
    assert seen > 40
    assert missing == []


@pytest.mark.parametrize('target', ['demo', 'test'])
def test_make_targets_exist(target):
    assert re.search(rf'^{target}:', (ROOT / 'Makefile').read_text(encoding='utf-8'), re.M)
    assert f'make {target}' in README
