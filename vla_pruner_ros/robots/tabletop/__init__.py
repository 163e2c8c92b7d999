# SPDX-License-Identifier: Apache-2.0
"""An arm of our own with two cameras, at a table with objects that look alike."""
