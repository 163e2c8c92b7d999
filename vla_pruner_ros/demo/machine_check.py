# SPDX-License-Identifier: Apache-2.0
"""Says what is missing on this machine for the demo and the tests, and how to install it.

Run as ``python -m vla_pruner_ros.demo.machine_check``; silent and 0 when everything is there.
Each check runs in its own process: a broken OpenGL or middleware library can end a process without
an exception.
"""
import os
import re
import subprocess
import sys

from vla_pruner_ros.core.install_hints import CORE, EXTRAS, how_to_install, install_extra

RENDER = """
import mujoco
from vla_pruner_ros.robots import offscreen_rendering as graphics
graphics.bind_backend(graphics.choose_backend())
model = mujoco.MjModel.from_xml_string("<mujoco><worldbody/></mujoco>")
renderer = mujoco.Renderer(model, 16, 16)
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
renderer.update_scene(data)
renderer.render()
renderer.close()
"""
INSTALL = install_extra('ros-pypi', 'sim', 'replay', 'hf', 'test')
OPENGL = 'sudo apt-get install libegl1 libgl1-mesa-dri   (or: libosmesa6, with MUJOCO_GL=osmesa)'

# (what, program, command that repairs it)
CHECKS: tuple[tuple[str, str, str], ...] = (
    ('PyTorch', 'import torch', INSTALL),
    ('ROS 2 (rclpy with messages)', 'import rclpy, sensor_msgs.msg, trajectory_msgs.msg, '
     'diagnostic_msgs.msg; from rclpy.lifecycle import LifecycleNode', how_to_install('rclpy')),
    ('OpenCV', 'import cv2', how_to_install('cv2')),
    ('the simulator (Meta-World)', 'import metaworld', INSTALL),
    ('off-screen rendering', RENDER, OPENGL),
)


def failure(program: str, timeout: float = 120.0) -> str | None:
    """Run a Python program; return why it failed (one line), or None.

    Args:
        program: Python source.
        timeout: seconds.
    """
    try:
        done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True,
                              timeout=timeout, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return f'no answer within {timeout:g} s'
    if done.returncode == 0:
        return None
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    # A broken library complains again while the process ends: the first error is the reason.
    errors = [line for line in lines if re.match(r'[\w.]*(Error|Exception|Exit)\b', line)]
    return (errors + lines[-1:] + [f'ended with status {done.returncode}'])[0]


def problems(checks: tuple[tuple[str, str, str], ...] = CHECKS) -> list[str]:
    """One sentence per thing that is missing."""
    # Imports of the heavy packages take seconds each: all checks run at the same time.
    from concurrent.futures import ThreadPoolExecutor
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        reasons = list(pool.map(failure, [program for _, program, _ in checks]))
    return [f'{what} does not work: {reason}\n    install it with: {repair_of(reason, repair)}'
            for (what, _, repair), reason in zip(checks, reasons) if reason is not None]


def repair_of(reason: str, repair: str) -> str:
    """``repair``, unless the reason names a missing module that something else brings.

    A library that renders does not help where the simulator itself is missing.
    """
    named = re.search(r"No module named '(\w+)", reason)
    return how_to_install(named[1]) if named and named[1] in (*EXTRAS, *CORE) else repair


def main() -> int:
    """Print what is missing; 0 when nothing is."""
    found = problems()
    for one in found:
        print(one, file=sys.stderr)
    return 1 if found else 0


if __name__ == '__main__':
    sys.exit(main())
