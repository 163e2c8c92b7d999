# SPDX-License-Identifier: Apache-2.0
"""What the documentation says by itself is up to date: ``make docs`` writes it."""
import importlib.util

from paths import PACKAGE, ROOT
import pytest

from vla_pruner_ros.core.parameter_declarations import LEVELS, table


@pytest.fixture(scope='module')
def generate():
    spec = importlib.util.spec_from_file_location('generate', ROOT / 'docs' / 'generate.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_nothing_generated_is_out_of_date(generate):
    old = [str(path.relative_to(ROOT)) for path, text in generate.pages()
           if path.read_text(encoding='utf-8') != text]
    assert old == [], 'run: make docs'


def test_every_module_and_every_room_is_in_the_file_tree_and_says_what_it_is(generate):
    lines = list(generate.tree())
    modules = [one for one in PACKAGE.rglob('*.py') if one.name != '__init__.py']
    rooms = [one.parent for one in PACKAGE.rglob('__init__.py')]
    assert sorted(line.split()[0] for line in lines) == sorted(
        [one.name for one in modules] + [f'{one.name}/' for one in rooms])
    assert [line for line in lines if len(line.split()) < 3] == []


def test_the_page_of_parameters_has_each_one_once_below_its_level():
    text = (ROOT / 'docs' / 'parameters.md').read_text(encoding='utf-8')
    basic, expert = text.split('<!-- generated parameters -->')[1].split('## Expert')
    sections = dict(zip(LEVELS, (basic, expert)))
    for spec in table():
        found = {level for level, part in sections.items() if f'\n| `{spec.name}` |' in part}
        assert found == {spec.metadata['level']}
        assert text.count(f'\n| `{spec.name}` |') == 1


def test_the_parameter_file_has_the_basic_ones_first():
    text = (ROOT / 'config' / 'pruned_policy.yaml').read_text(encoding='utf-8')
    places = {spec.name: min(text.find(f'    {mark}{spec.name}: ') % (len(text) + 1)
                             for mark in ('', '# ')) for spec in table()}
    last = max(places[one.name] for one in table() if one.metadata['level'] == 'basic')
    assert last < min(places[one.name] for one in table() if one.metadata['level'] == 'expert')


def test_missing_markers_are_an_error(generate):
    with pytest.raises(ValueError, match='generated files'):
        generate.between('no markers here', 'files', 'x')
    assert generate.between('a\n<!-- generated x -->\nold\n<!-- end of x -->\nb', 'x', 'new') == (
        'a\n<!-- generated x -->\nnew\n<!-- end of x -->\nb')
