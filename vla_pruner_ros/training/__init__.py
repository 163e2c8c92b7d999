# SPDX-License-Identifier: Apache-2.0
"""What makes the shipped policies: demonstrations, labels, losses, success rates."""
