# SPDX-License-Identifier: Apache-2.0
"""Statistics of success rates.  Below training and evaluation: imports nothing of this package."""
