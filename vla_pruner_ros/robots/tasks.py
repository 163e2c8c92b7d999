# SPDX-License-Identifier: Apache-2.0
"""The tasks of the simulated robots: name, instruction in words, step limit.

Names that end in ``-v3`` are Meta-World's; the others belong to the tabletop scene, where the
wordings are templates and each episode fills in its own objects.  One control step is 50 ms
(20 Hz); Meta-World runs at 80 Hz, so a control step is four physics actions and Meta-World's own
limit of 500 actions is 125 control steps.
"""
from collections.abc import Mapping
from dataclasses import dataclass

from vla_pruner_ros.core.errors import ConfigError

CONTROL_DT = 0.05  # seconds per control step
SUBSTEPS = 4  # Meta-World actions (12.5 ms) per control step
MAX_CONTROL_STEPS = 125  # Meta-World refuses more than 500 actions per episode


@dataclass(frozen=True)
class Task:
    """One task of a simulated robot.

    Attributes:
        name: the task's name.
        instruction: the task in words; on the tabletop a template such as ``reach the {colour}
            cube`` (the robot's ``instruction`` is the filled one).
        paraphrases: other wordings seen in training; 4 to 9 words.
        step_limit: control steps per episode.
        scene: ``metaworld`` or ``tabletop``.
        moving_target: the target moves by itself during the episode.
    """

    name: str
    instruction: str
    paraphrases: tuple[str, ...]
    step_limit: int = MAX_CONTROL_STEPS
    scene: str = 'metaworld'
    moving_target: bool = False

    @property
    def wordings(self) -> tuple[str, ...]:
        """The instruction and its paraphrases."""
        return (self.instruction,) + self.paraphrases

    def fill(self, words: Mapping[str, str]) -> tuple[str, ...]:
        """All wordings with an episode's words in place of the template's fields."""
        return tuple(wording.format(**words) for wording in self.wordings)


METAWORLD_TASKS: dict[str, Task] = {task.name: task for task in (
    Task('reach-v3', 'reach the red ball', (
        'touch the red ball', 'go to the red ball', 'move to the red ball',
        'move the hand to the ball', 'reach for the small red ball')),
    Task('drawer-open-v3', 'open the green drawer', (
        'pull the drawer open', 'pull the green drawer open', 'open the drawer by hand',
        'pull the handle of the drawer', 'open the drawer of the box')),
    Task('button-press-topdown-v3', 'press the button from the top', (
        'press the red button', 'press the red button down', 'push the red button down',
        'push the button from the top')),
    Task('handle-press-v3', 'press the handle down', (
        'push the handle down', 'press the red handle down', 'push the red handle down',
        'press down on the red handle')),
    Task('push-v3', 'push the puck to the goal', (
        'push puck to goal', 'slide puck to the goal', 'push the puck to green')),
)}


def _tabletop(name: str, limit: int, *wordings: str, moving_target: bool = False) -> Task:
    return Task(name, wordings[0], wordings[1:], limit, 'tabletop', moving_target)


TABLETOP_TASKS: dict[str, Task] = {task.name: task for task in (
    _tabletop('reach-colour', 40, 'reach the {colour} cube', 'touch the {colour} cube',
              'go to the {colour} cube'),
    _tabletop('reach-shape', 40, 'reach the {colour} {shape}', 'touch the {colour} {shape}',
              'go to the {colour} {shape}'),
    _tabletop('reach-object', 40, 'reach the {colour} {shape}', 'touch the {colour} {shape}',
              'go to the {colour} {shape}'),
    _tabletop('reach-relation', 40, 'reach the {side} {colour} {shape}',
              'touch the {side} {colour} {shape}', 'go to the {side} {colour} {shape}'),
    _tabletop('reach-behind', 40, 'reach the {colour} cube behind the wall',
              'touch the {colour} cube behind the wall',
              'go to the {colour} cube behind the wall'),
    _tabletop('touch-two', 60, 'touch the {colour} cube then the {second} cube',
              'reach the {colour} cube then the {second} cube',
              'go to the {colour} cube then the {second} cube'),
    _tabletop('follow-moving', 75, 'follow the {colour} ball', 'stay with the {colour} ball',
              'keep to the {colour} ball', moving_target=True),
    _tabletop('pick-colour', 60, 'pick up the {colour} cube', 'lift the {colour} cube',
              'pick the {colour} cube up'),
    _tabletop('place-bowl', 90, 'put the cube into the {colour} bowl',
              'place the cube in the {colour} bowl', 'drop the cube into the {colour} bowl'),
)}

TASKS: dict[str, Task] = {**METAWORLD_TASKS, **TABLETOP_TASKS}


def get_task(name: str) -> Task:
    """Look a task up by name.

    Raises:
        ConfigError: the name is unknown; the message lists the known ones.
    """
    if name not in TASKS:
        raise ConfigError(f'unknown task {name!r}; known tasks: {", ".join(TASKS)}')
    return TASKS[name]
