# SPDX-License-Identifier: Apache-2.0
"""The command ``vla-pruner``: arguments in, one call of the room that does the work."""
