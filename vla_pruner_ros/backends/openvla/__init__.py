"""OpenVLA and OpenVLA-OFT from their published checkpoints, in plain torch."""
