# SPDX-License-Identifier: Apache-2.0
"""A state of the simulator kept aside, so that a picture of it can be drawn later."""
from typing import Any

import numpy as np


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
