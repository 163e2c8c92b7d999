# SPDX-License-Identifier: Apache-2.0
"""OpenVLA and OpenVLA-OFT from their published checkpoints, in plain torch."""
