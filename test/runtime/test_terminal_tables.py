# SPDX-License-Identifier: Apache-2.0
"""Tables and lines at several widths."""
import io

import pytest

from vla_pruner_ros.runtime.progress_line import Progress
from vla_pruner_ros.runtime.terminal_tables import split, table, terminal_width, wrapped


class Terminal(io.StringIO):
    def isatty(self):
        return True


HEAD, ROWS = ['run', 'ms', 'kept'], [['a', '1.5', '196'], ['bb', '12.0', '49']]


def test_a_table_without_limit_is_one_part():
    assert table(HEAD, ROWS) == ('run    ms  kept\n'
                                 'a     1.5   196\n'
                                 'bb   12.0    49')
    assert table(HEAD, ROWS, rule=True).splitlines()[1] == '---  ----  ----'
    assert table(HEAD, ROWS, width=15) == table(HEAD, ROWS)


def test_columns_that_do_not_fit_follow_below_with_their_keys():
    assert table(HEAD, ROWS, width=14) == ('run    ms\n'
                                           'a     1.5\n'
                                           'bb   12.0\n\n'
                                           'run  kept\n'
                                           'a     196\n'
                                           'bb     49')


@pytest.mark.parametrize('width, groups', [
    (None, [[1, 2, 3]]), (20, [[1, 2, 3]]), (19, [[1, 2], [3]]), (3, [[1], [2], [3]])])
def test_groups_of_columns(width, groups):
    assert split([5, 3, 3, 3], keys=1, width=width) == groups


def test_only_a_terminal_has_a_width(monkeypatch):
    monkeypatch.setenv('COLUMNS', '40')
    assert terminal_width(io.StringIO()) is None
    assert terminal_width(Terminal()) == 40


def test_long_lines_are_broken_at_spaces():
    assert wrapped('one two three four five', 20) == 'one two three four\n  five'
    assert wrapped('one two three four five') == 'one two three four five'
    assert wrapped('a\n\nb', 20) == 'a\n\nb'


def test_a_progress_line_is_not_longer_than_the_terminal(monkeypatch):
    monkeypatch.setenv('COLUMNS', '12')
    stream = Terminal()
    Progress('a long label', 10, stream).show(5, 'note')
    assert stream.getvalue() == '\r\033[Ka long label'
