# SPDX-License-Identifier: Apache-2.0
"""One place for the words that say how to install what is missing.

This package is on no package index, so an extra of it is always installed from the source folder.
"""

#: Python module -> extra of setup.py that brings it.
EXTRAS = {
    'rclpy': 'ros-pypi', 'cv2': 'opencv', 'metaworld': 'sim', 'mujoco': 'sim',
    'gymnasium': 'sim', 'matplotlib': 'replay', 'rosbags': 'replay', 'transformers': 'hf',
    'tokenizers': 'openvla', 'PIL': 'openvla', 'huggingface_hub': 'hub', 'torchao': 'quant',
    'ray': 'ray', 'simplejpeg': 'test',
}
#: What every installation of this package has; missing only where it runs uninstalled.
CORE = ('numpy', 'torch', 'safetensors', 'yaml')
#: Python module -> what a robot does instead of installing a wheel.
ON_A_ROBOT = {
    'rclpy': 'source the setup file of your ROS installation',
    'cv2': 'sudo apt-get install python3-opencv',
    'matplotlib': 'sudo apt-get install python3-matplotlib',
}


def install_extra(*extras: str) -> str:
    """The command that installs extras of this package.

    Args:
        extras: names in ``extras_require`` of setup.py; none = the package alone.
    """
    names = f'[{",".join(extras)}]' if extras else ''
    return f'pip install -e ".{names}" in the source folder of vla_pruner_ros'


def how_to_install(module: str) -> str:
    """What to do when a Python module is missing.

    Args:
        module: as imported; a submodule counts as its package.
    """
    top = module.partition('.')[0]
    if top in EXTRAS:
        pip = install_extra(EXTRAS[top])
    elif top in CORE or top == 'vla_pruner_ros':
        pip = install_extra()
    elif top.endswith(('_msgs', '_srvs', '_interfaces')):
        return f'{ON_A_ROBOT["rclpy"]}, or {install_extra("ros-pypi")}'
    else:
        pip = f'pip install {top}'
    return f'{ON_A_ROBOT[top]}, or {pip}' if top in ON_A_ROBOT else pip
