# SPDX-License-Identifier: Apache-2.0
"""Journals in; tables, plots and verdicts out."""
