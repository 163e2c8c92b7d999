# SPDX-License-Identifier: Apache-2.0
"""PocketVLA, the small policy shipped inside the package."""
