# SPDX-License-Identifier: Apache-2.0
"""The policy on a recording (rosbag2), pruned against unpruned."""
