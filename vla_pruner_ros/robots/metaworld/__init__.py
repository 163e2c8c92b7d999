# SPDX-License-Identifier: Apache-2.0
"""A Sawyer arm with one camera, on tasks of Meta-World."""
