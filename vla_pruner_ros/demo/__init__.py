# SPDX-License-Identifier: Apache-2.0
"""The closed loop on one machine, started, measured and drawn."""
