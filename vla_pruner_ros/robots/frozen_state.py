# SPDX-License-Identifier: Apache-2.0
"""States of the simulator: kept aside to be drawn later, and read between two physics steps."""
from typing import Any

import numpy as np


def hand_state(model: Any, data: Any, hand: tuple[str, int],
               since: float) -> tuple[np.ndarray, np.ndarray]:
    """Position and velocity (3,) of a part of the robot some time after the last physics step.

    Args:
        model: the MuJoCo model.
        data: its state; places are those of the beginning of the last step.
        hand: ``body`` or ``site``, and its number.
        since: seconds since the end of the last step.
    """
    import mujoco
    kind, number = hand
    speed = np.zeros(6)
    place = data.xpos[number] if kind == 'body' else data.site_xpos[number]
    mujoco.mj_objectVelocity(
        model, data, mujoco.mjtObj.mjOBJ_XBODY if kind == 'body' else mujoco.mjtObj.mjOBJ_SITE,
        number, speed, 0)
    return place + speed[3:] * (since + model.opt.timestep), speed[3:]


class FrozenState:
    """Second set of MuJoCo data, for states of the past.

    Args:
        model: the MuJoCo model.
    """

    def __init__(self, model: Any):
        import mujoco
        self._mujoco, self._model = mujoco, model
        self._kind = mujoco.mjtState.mjSTATE_INTEGRATION
        self._size = mujoco.mj_stateSize(model, self._kind)
        self._data: Any = mujoco.MjData(model)

    def keep(self, data: Any) -> np.ndarray:
        """The state of ``data`` (S,) now."""
        state = np.empty(self._size)
        self._mujoco.mj_getState(self._model, data, state, self._kind)
        return state

    def shown(self, state: np.ndarray) -> Any:
        """Data in that state, until the next call."""
        self._mujoco.mj_setState(self._model, self._data, state, self._kind)
        self._mujoco.mj_forward(self._model, self._data)
        return self._data
