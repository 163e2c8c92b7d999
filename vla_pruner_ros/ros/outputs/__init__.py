# SPDX-License-Identifier: Apache-2.0
"""What leaves the node towards controllers: topics, streams and goals of actions."""
