# SPDX-License-Identifier: Apache-2.0
"""LIBERO, as the published evaluations drive it."""
