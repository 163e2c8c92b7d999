# SPDX-License-Identifier: Apache-2.0
"""One file per token-selection method; a new one goes here."""
