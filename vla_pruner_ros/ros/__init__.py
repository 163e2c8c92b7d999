# SPDX-License-Identifier: Apache-2.0
"""The ROS node ``pruned_policy``; nothing in here imports torch."""
