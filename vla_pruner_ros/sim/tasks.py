"""The tasks of the simulated robot: name, instruction in words, step limit.

Names are Meta-World's.  One control step is 50 ms (20 Hz); Meta-World runs at 80 Hz, so a control
step is four physics actions and Meta-World's own limit of 500 actions is 125 control steps.
"""
from dataclasses import dataclass
from typing import Dict

from vla_pruner_ros.core.errors import ConfigError

CONTROL_DT = 0.05  # seconds per control step
SUBSTEPS = 4  # Meta-World actions (12.5 ms) per control step
MAX_CONTROL_STEPS = 125  # Meta-World refuses more than 500 actions per episode


@dataclass(frozen=True)
class Task:
    """One task of the simulated robot."""

    name: str
    instruction: str
    step_limit: int = MAX_CONTROL_STEPS


TASKS: Dict[str, Task] = {task.name: task for task in (
    Task('reach-v3', 'reach the red ball'),
    Task('drawer-open-v3', 'open the green drawer'),
    Task('button-press-topdown-v3', 'press the red button from the top'),
    Task('handle-press-v3', 'press the handle down'),
    Task('coffee-button-v3', 'push the button of the coffee machine'),
    Task('push-v3', 'push the puck to the green goal'),
)}


def get_task(name: str) -> Task:
    """Look a task up by name.

    Raises:
        ConfigError: the name is unknown; the message lists the known ones.
    """
    if name not in TASKS:
        raise ConfigError(f'unknown task {name!r}; known tasks: {", ".join(TASKS)}')
    return TASKS[name]
