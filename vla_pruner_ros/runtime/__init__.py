# SPDX-License-Identifier: Apache-2.0
"""Around the control step, without ROS: inputs paired, commands timed, watchdog, files."""
