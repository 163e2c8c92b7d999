# SPDX-License-Identifier: Apache-2.0
"""What every policy shares: control step, token selection, action reuse, safety, parameters."""
