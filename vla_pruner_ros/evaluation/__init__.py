# SPDX-License-Identifier: Apache-2.0
"""What compares methods in closed loop: paired episodes, statistics, reports."""
