# SPDX-License-Identifier: Apache-2.0
"""Build script: colcon (ament_python) and pip both read this file."""
from glob import glob
from pathlib import Path
import re

from setuptools import find_packages, setup
from setuptools.command.develop import develop

PACKAGE = 'vla_pruner_ros'
SHARE = f'share/{PACKAGE}'
HERE = Path(__file__).resolve().parent
VERSION = re.search(r"^__version__ = '(.+)'$",
                    (HERE / PACKAGE / '__init__.py').read_text(encoding='utf-8'), re.M)[1]

# On a robot rclpy, the messages and OpenCV come from apt; these extras are for everybody else.
# Each line is justified in docs/packaging.md.  No lower bound of numpy above the one that the
# oldest ROS distribution has; pip upgrades it all the same for OpenCV, unless told otherwise:
# pip install -c constraints-robot.txt ".[replay]"
OPENCV = ['opencv-python-headless>=4.5,<5']
EXTRAS = {
    'opencv': OPENCV,
    'ros-pypi': OPENCV + [
        'ros-rclpy[fastrtps]==7.1.6',
        'ros-jazzy-sensor-msgs<5.4',
        'ros-diagnostic-msgs<5.4',
        'ros-geometry-msgs<5.4',
        'ros-sensor-msgs<5.4',
        'ros-std-msgs<5.4',
        'ros-std-srvs<5.4',
        'ros-trajectory-msgs<5.4',
        'ros-visualization-msgs<5.4',
        'ros-lifecycle-msgs==2.0.3',
    ],
    'sim': OPENCV + ['metaworld==3.1.1', 'packaging', 'matplotlib>=3.5'],
    'replay': OPENCV + ['rosbags>=0.11', 'matplotlib>=3.5'],
    'hf': ['transformers>=4.50,<6'],
    'openvla': ['tokenizers>=0.15', 'pillow>=9'],
    'hub': ['huggingface-hub>=0.23'],
    'quant': ['torchao>=0.18'],
    'ray': ['ray>=2.9'],
    'test': ['pytest>=7', 'pytest-timeout>=2', 'hypothesis>=6', 'simplejpeg>=1.7'],
    'lint': ['ruff>=0.5', 'mypy>=1.8'],
}

# No '**' here: setuptools 59 of Ubuntu 22.04 does not know it.
DATA_PATTERNS = [depth + name for depth in ('', '*/', '*/*/', '*/*/*/', '*/*/*/*/')
                 for name in ('*.safetensors', '*.json', '*.xml', '*.md', 'py.typed')]


class Develop(develop):
    """`colcon build --symlink-install`, but with the shebang of setup.cfg.

    `setup.py develop` ignores `[build_scripts] executable` and names the interpreter that runs
    colcon, so `ros2 run` would never see an activated virtual environment.
    """

    def write_script(self, script_name, contents, *rest):
        """Write one executable; the first line is replaced."""
        if contents.startswith('#!'):
            contents = '#!/usr/bin/env python3\n' + contents.partition('\n')[2]
        super().write_script(script_name, contents, *rest)


setup(
    name=PACKAGE,
    version=VERSION,
    description='Vision-Language-Action policies on ROS 2 with pruned visual tokens and '
                'reused actions',
    long_description=(HERE / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    classifiers=[
        'Intended Audience :: Developers',
        'Operating System :: POSIX :: Linux',
        'Programming Language :: Python :: 3',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
        'Typing :: Typed',
    ],
    license='Apache-2.0',
    maintainer='vla_pruner_ros maintainers',
    maintainer_email='vla-pruner-ros@users.noreply.github.com',
    python_requires='>=3.10',
    packages=find_packages(include=[PACKAGE, f'{PACKAGE}.*']),
    package_data={PACKAGE: DATA_PATTERNS},
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{PACKAGE}']),
        (SHARE, ['package.xml']),
        (f'{SHARE}/launch', sorted(glob('launch/*.py'))),
        (f'{SHARE}/config', sorted(glob('config/*.*'))),
        (f'{SHARE}/config/robots', sorted(glob('config/robots/*.yaml'))),
    ],
    install_requires=['numpy>=1.21', 'torch>=2.1', 'safetensors>=0.4', 'pyyaml>=5.4'],
    extras_require=EXTRAS,
    zip_safe=False,
    cmdclass={'develop': Develop},
    entry_points={
        'console_scripts': [
            'vla-pruner = vla_pruner_ros.cli.main:main',
            'pruned_policy = vla_pruner_ros.cli.nodes:pruned_policy',
            'sim_robot = vla_pruner_ros.cli.nodes:sim_robot',
        ],
    },
)
