# SPDX-License-Identifier: Apache-2.0
"""The ROS node ``sim_robot``; it knows the policy by its topics only."""
