# SPDX-License-Identifier: Apache-2.0
"""Models of what stands between a node that publishes motion and the joints of a robot."""
