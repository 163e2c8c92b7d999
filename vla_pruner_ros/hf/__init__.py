# SPDX-License-Identifier: Apache-2.0
"""Prunes inside an unmodified model of ``transformers``."""
