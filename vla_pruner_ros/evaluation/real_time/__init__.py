# SPDX-License-Identifier: Apache-2.0
"""The robot while the model thinks: motion and success at stated delays, in virtual time."""
