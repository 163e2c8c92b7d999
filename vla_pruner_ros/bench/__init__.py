# SPDX-License-Identifier: Apache-2.0
"""Time and deviation of single parts, without a robot."""
