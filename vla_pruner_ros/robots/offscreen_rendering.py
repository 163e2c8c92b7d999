# SPDX-License-Identifier: Apache-2.0
"""Choice of an off-screen OpenGL library, made before MuJoCo is imported.

MuJoCo reads ``MUJOCO_GL`` once, at import.  This file knows library names and apt packages; it
does not know the robot.
"""
import ctypes
import ctypes.util
import importlib
import os
from typing import Any

from vla_pruner_ros.core.errors import ConfigError, MissingDependencyError, VlaPrunerError

LIBRARIES = {'egl': ('EGL', 'libEGL.so.1'), 'osmesa': ('OSMesa', 'libOSMesa.so.8')}
BACKENDS = ('egl', 'osmesa', 'glfw')
HOW_TO_INSTALL = (
    'no off-screen OpenGL library was found (looked for EGL and OSMesa). Install one, for example '
    '"sudo apt-get install libegl1 libgl1-mesa-dri" or "sudo apt-get install libosmesa6", '
    'or set MUJOCO_GL to one of: egl, osmesa, glfw')


def find_backend() -> str | None:
    """Name of the first OpenGL backend whose library loads, or None."""
    for backend, (short, versioned) in LIBRARIES.items():
        for name in (ctypes.util.find_library(short), versioned):
            try:
                if name:
                    ctypes.CDLL(name)
                    return backend
            except OSError:
                continue
    return None


def choose_backend() -> str:
    """Set and return ``MUJOCO_GL``: the user's value if there is one, else egl, else osmesa.

    Raises:
        ConfigError: ``MUJOCO_GL`` holds an unknown name.
        MissingDependencyError: no library was found; the message says what to install.
    """
    wanted = os.environ.get('MUJOCO_GL', '').strip().lower()
    if wanted:
        if wanted not in BACKENDS:
            raise ConfigError(f'MUJOCO_GL={wanted!r} is not one of: {", ".join(BACKENDS)}')
        return wanted
    backend = find_backend()
    if backend is None:
        raise MissingDependencyError(HOW_TO_INSTALL)
    os.environ['MUJOCO_GL'] = backend
    return backend


def bind_backend(backend: str) -> None:
    """Make ``mujoco.Renderer`` use ``backend`` even if MuJoCo was imported before the choice."""
    from mujoco import gl_context
    module = importlib.import_module({
        'egl': 'mujoco.egl', 'osmesa': 'mujoco.osmesa', 'glfw': 'mujoco.glfw'}[backend])
    gl_context.GLContext = module.GLContext


def open_renderer(model: Any, image_size: int) -> Any:
    """A ``mujoco.Renderer`` of square pictures on the chosen library, shadows and mirrors off.

    Raises:
        ConfigError: ``MUJOCO_GL`` holds an unknown name.
        MissingDependencyError: no library, or one that cannot render; says what to install.
    """
    import mujoco
    try:
        bind_backend(choose_backend())
        renderer = mujoco.Renderer(model, image_size, image_size)
    except VlaPrunerError:
        raise
    except Exception as error:  # MuJoCo raises whatever the OpenGL binding raised
        raise MissingDependencyError(f'cannot render: {error}; {HOW_TO_INSTALL}') from error
    # Software rendering is slow; reflections cost a third of a frame.
    for flag in (mujoco.mjtRndFlag.mjRND_REFLECTION, mujoco.mjtRndFlag.mjRND_SHADOW):
        renderer.scene.flags[flag] = 0
    return renderer
