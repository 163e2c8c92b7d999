# SPDX-License-Identifier: Apache-2.0
"""What policy families share: the decoder, and the removal of visual rows inside it."""
