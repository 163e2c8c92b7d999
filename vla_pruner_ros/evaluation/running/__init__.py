# SPDX-License-Identifier: Apache-2.0
"""Where episodes run and where finished ones are kept."""
