# SPDX-License-Identifier: Apache-2.0
"""Intervals and tests on paired episodes."""
