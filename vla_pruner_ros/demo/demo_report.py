# SPDX-License-Identifier: Apache-2.0
"""What the demo measured: records per episode, rows per task and budget, table and JSON.

Knows neither ROS nor pictures.
"""
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
import statistics
from typing import Any

from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.core.whole_number import whole_number
from vla_pruner_ros.runtime import terminal_tables

STAGES = ('preprocess', 'vision', 'decoder', 'select', 'head', 'total')


@dataclass(frozen=True)
class Block:
    """One setting of the policy: tokens kept per image (0 = all) and action reuse."""

    budget: int
    reuse: bool = False

    @property
    def label(self) -> str:
        """As on the command line."""
        return ('all' if self.budget == 0 else str(self.budget)) + ('+reuse' if self.reuse else '')


def parse_blocks(text: str) -> tuple[Block, ...]:
    """Read ``all,98,49+reuse``.

    Raises:
        ConfigError: names the entry and what is accepted.
    """
    blocks = []
    for entry in text.split(','):
        head, plus, tail = entry.strip().partition('+')
        budget = 0 if head == 'all' else whole_number(head)
        if (head != 'all' and not (budget and budget <= 4096)) or (
                plus and tail != 'reuse'):
            raise ConfigError(f"budget {entry.strip()!r}; accepted: 'all' or 1 to 4096 tokens, "
                              "each with or without '+reuse', for example all,98,49+reuse")
        blocks.append(Block(budget or 0, bool(plus)))
    return tuple(blocks)


@dataclass
class Episode:
    """One closed-loop episode.

    Attributes:
        task: name.
        block: label of the setting.
        seed: placement of the objects.
        instruction: what the policy was told.
        success: solved.
        steps: control steps of the robot.
        wall_s: seconds from the reset to the end.
        policy_steps: status messages of the policy, one per answered observation
            (``last_step`` of its ``~/status``).
        refused: chunks that the robot refused, by reason.
    """

    task: str
    block: str
    seed: int
    success: bool = False
    steps: int = 0
    wall_s: float = 0.0
    policy_steps: list[dict[str, Any]] = field(default_factory=list)
    refused: dict[str, int] = field(default_factory=dict)
    instruction: str = ''


@dataclass(frozen=True)
class Row:
    """All episodes of one task with one setting (or of all tasks, ``task='all tasks'``)."""

    task: str
    block: str
    episodes: int
    solved: int
    rate_hz: float
    robot_hz: float
    stages_ms: dict[str, float]
    kept: float
    tokens: int
    pruned_share: float
    reuse_rate: float

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def summarise(episodes: Sequence[Episode], task: str, block: str) -> Row:
    """Reduce episodes to a row; rates over the whole time, medians over model runs.

    The first model runs of an episode prune nothing (warm-up of the method).  They are left out of
    the medians where there are pruned ones, and ``pruned_share`` says how many those are.
    """
    steps = [one for episode in episodes for one in episode.policy_steps]
    computed = [one for one in steps if not one['reused']]
    pruned = [one for one in computed if one['pruned']]
    shown = pruned or computed
    wall = sum(episode.wall_s for episode in episodes)
    stages = {name: statistics.median(one['stages_ms'].get(name, 0.0) for one in shown)
              for name in STAGES} if shown else {}
    return Row(task, block, len(episodes), sum(episode.success for episode in episodes),
               len(steps) / wall if wall else 0.0,
               sum(episode.steps for episode in episodes) / wall if wall else 0.0, stages,
               statistics.median(sum(one['kept']) / max(len(one['kept']), 1) for one in shown)
               if shown else 0.0,
               max((one['tokens_per_image'] for one in steps), default=0),
               len(pruned) / len(computed) if computed else 0.0,
               sum(one['reused'] for one in steps) / len(steps) if steps else 0.0)


def rows(episodes: Sequence[Episode]) -> list[Row]:
    """Rows per task and block, in the order they were run, then one per block over all tasks."""
    groups: dict[tuple[str, str], list[Episode]] = {}
    for episode in episodes:
        groups.setdefault((episode.task, episode.block), []).append(episode)
    result = [summarise(group, *key) for key, group in groups.items()]
    if len({task for task, _ in groups}) > 1:
        for block in dict.fromkeys(block for _, block in groups):
            result.append(summarise([one for one in episodes if one.block == block], 'all tasks',
                                    block))
    return result


def table(lines: Sequence[Row], width: int | None = None) -> str:
    """Text table of at most ``width`` columns; milliseconds are medians per model run."""
    head = ['task', 'budget', 'success', 'policy Hz', 'robot Hz', 'ms total', 'vision', 'decoder',
            'select', 'head', 'tokens kept', 'pruned', 'reused']
    body = [[row.task, row.block, f'{row.solved}/{row.episodes}', f'{row.rate_hz:.1f}',
             f'{row.robot_hz:.1f}',
             *(f'{row.stages_ms.get(name, 0.0):.1f}'
               for name in ('total', 'vision', 'decoder', 'select', 'head')),
             f'{row.kept:.0f}/{row.tokens}', f'{row.pruned_share:.0%}',
             f'{row.reuse_rate:.0%}'] for row in lines]
    return terminal_tables.table(head, body, keys=2, rule=True, width=width)


def episode_line(number: int, count: int, episode: Episode) -> str:
    """Progress line of one episode."""
    result = f'solved in {episode.steps:3d} steps' if episode.success else (
        f'not solved ({episode.steps} steps)')
    rate = len(episode.policy_steps) / episode.wall_s if episode.wall_s else 0.0
    refused = sum(episode.refused.values())
    return (f'[{number:{len(str(count))}d}/{count}] {episode.task:24s} budget {episode.block:10s} '
            f'seed {episode.seed:<6d} {result:24s} {rate:5.1f} policy steps/s'
            + (f', {refused} chunks refused' if refused else '')
            + (f'  "{episode.instruction}"' if episode.instruction else ''))
