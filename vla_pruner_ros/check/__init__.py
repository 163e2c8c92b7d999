# SPDX-License-Identifier: Apache-2.0
"""Real checkpoints: described without loading, or tried on a recording."""
