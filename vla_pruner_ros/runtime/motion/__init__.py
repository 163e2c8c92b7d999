# SPDX-License-Identifier: Apache-2.0
"""Where chunks become motion: delay, timing, joining, limits.  Decides what is sent."""
