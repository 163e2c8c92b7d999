# SPDX-License-Identifier: Apache-2.0
"""The node's own ``main`` with the fake policy: started as a process of its own by tests."""
import sys

import ros_helpers

from vla_pruner_ros.ros.policy_node import main

if __name__ == '__main__':
    sys.exit(main(load=lambda parameters: ros_helpers.FakeBackend()))
