"""The tasks of the simulated robot: name, instruction in words, step limit.

Names are Meta-World's.  One control step is 50 ms (20 Hz); Meta-World runs at 80 Hz, so a control
step is four physics actions and Meta-World's own limit of 500 actions is 125 control steps.
"""
from dataclasses import dataclass
from typing import Dict, Tuple

from vla_pruner_ros.core.errors import ConfigError

CONTROL_DT = 0.05  # seconds per control step
SUBSTEPS = 4  # Meta-World actions (12.5 ms) per control step
MAX_CONTROL_STEPS = 125  # Meta-World refuses more than 500 actions per episode


@dataclass(frozen=True)
class Task:
    """One task of the simulated robot.

    Attributes:
        name: Meta-World's name.
        instruction: the task in words.
        paraphrases: other wordings seen in training, all of 4, 5 or 6 words.
        step_limit: control steps per episode.
    """

    name: str
    instruction: str
    paraphrases: Tuple[str, ...]
    step_limit: int = MAX_CONTROL_STEPS

    @property
    def wordings(self) -> Tuple[str, ...]:
        """The instruction and its paraphrases."""
        return (self.instruction,) + self.paraphrases


TASKS: Dict[str, Task] = {task.name: task for task in (
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


def get_task(name: str) -> Task:
    """Look a task up by name.

    Raises:
        ConfigError: the name is unknown; the message lists the known ones.
    """
    if name not in TASKS:
        raise ConfigError(f'unknown task {name!r}; known tasks: {", ".join(TASKS)}')
    return TASKS[name]
