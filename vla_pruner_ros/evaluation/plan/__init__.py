# SPDX-License-Identifier: Apache-2.0
"""Which episodes, which methods, which claims."""
