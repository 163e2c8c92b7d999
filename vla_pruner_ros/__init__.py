# SPDX-License-Identifier: Apache-2.0
"""Vision-Language-Action policies on ROS 2 with pruned visual tokens and reused actions."""

__version__ = '0.1.0'
