# SPDX-License-Identifier: Apache-2.0
"""What the statistics of a data set do not say: control rate, units, gripper.

The policies were trained on data sets that were brought into one form: the gripper is 1 = open,
0 = closed in all of them.  Rates and units stayed as they were recorded, so they are facts per
data set.  A data set that is not in the table needs the parameter ``control_rate``; its units
are taken as metres and radians per step.
"""
from dataclasses import dataclass, replace

from vla_pruner_ros.core.errors import ConfigError


@dataclass(frozen=True)
class DatasetFacts:
    """Facts of one data set.

    Attributes:
        rate: control steps per second.
        metres: metres of one unit of the translation columns.
        radians: radians of one unit of the rotation columns.
        joints: actions are absolute joint positions.
        bounds: statistics at -1 and 1 (see ``actions.BOUNDS``).
        chunk: actions per answer of OpenVLA-OFT policies trained on it.
    """

    rate: float
    metres: float = 1.0
    radians: float = 1.0
    joints: bool = False
    bounds: str = 'quantiles'
    chunk: int = 8


#: First matching prefix of the data set's name wins.
FACTS = {
    'bridge': DatasetFacts(5.0, chunk=5),
    'fractal20220817_data': DatasetFacts(3.0),
    'kuka': DatasetFacts(10.0),
    'taco_play': DatasetFacts(15.0),
    'jaco_play': DatasetFacts(10.0),
    'berkeley_cable_routing': DatasetFacts(10.0),
    'berkeley_autolab_ur5': DatasetFacts(5.0),
    'toto': DatasetFacts(30.0),
    'droid': DatasetFacts(15.0),
    # Commands of LIBERO's controller: full scale 1 is 5 cm and 0.5 rad per step.
    'libero': DatasetFacts(20.0, metres=0.05, radians=0.5),
    'aloha': DatasetFacts(25.0, joints=True, bounds='min_max', chunk=25),
}
GRIPPER_OPEN, GRIPPER_CLOSED = 1.0, 0.0
#: Parameter ``gripper_convention`` -> the policy's values for open and closed.
GRIPPERS = {'dataset': (GRIPPER_OPEN, GRIPPER_CLOSED), 'open_is_one': (1.0, 0.0),
            'open_is_zero': (0.0, 1.0), 'open_is_minus_one': (-1.0, 1.0)}
TWO_ARMS = 14  # action dimensions of two arms with grippers: joint positions (ALOHA)


def facts(key: str, dimensions: int, rate: float = 0.0) -> DatasetFacts:
    """Facts of the data set ``key``.

    Args:
        key: name of the statistics (``unnorm_key``).
        dimensions: of an action.
        rate: control steps per second that override the table; 0 = the table's.

    Raises:
        ConfigError: the rate is neither given nor known.
    """
    known = next((one for prefix, one in FACTS.items() if key.startswith(prefix)), None)
    if dimensions == TWO_ARMS:
        known = FACTS['aloha']
    if known is None:
        if rate <= 0:
            raise ConfigError(f'the control rate of the data set {key!r} is not known; set '
                              f'control_rate (Hz). Known: {", ".join(FACTS)}')
        return DatasetFacts(rate)
    if rate <= 0:
        return known
    return replace(known, rate=rate)


def action_names(dimensions: int, joints: bool) -> tuple[str, ...]:
    """Column names of an action.

    Raises:
        ConfigError: a number of dimensions that no known robot has.
    """
    if not joints and dimensions == 7:
        return ('dx', 'dy', 'dz', 'drx', 'dry', 'drz', 'gripper')
    if joints and dimensions == TWO_ARMS:
        return tuple(f'{side}_{part}' for side in ('left', 'right') for part in (
            *(f'joint_{number}' for number in range(6)), 'gripper'))
    raise ConfigError(f'actions have {dimensions} dimensions; known are 7 (end-effector deltas '
                      f'and gripper) and {TWO_ARMS} (joints of two arms)')


def state_names(dimensions: int) -> tuple[str, ...]:
    """Names of the proprioception that a projector of this width reads.

    Raises:
        ConfigError: a number of dimensions that no known robot has.
    """
    if dimensions == 8:  # LIBERO: position, axis-angle, the two gripper fingers
        return ('x', 'y', 'z', 'rx', 'ry', 'rz', 'finger_left', 'finger_right')
    if dimensions == 7:  # Bridge: position, roll-pitch-yaw, gripper
        return ('x', 'y', 'z', 'roll', 'pitch', 'yaw', 'gripper')
    if dimensions == TWO_ARMS:
        return action_names(dimensions, joints=True)
    raise ConfigError(f'the proprioception has {dimensions} dimensions; known are 7, 8 and '
                      f'{TWO_ARMS}')
