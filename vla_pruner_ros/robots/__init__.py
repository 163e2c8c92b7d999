# SPDX-License-Identifier: Apache-2.0
"""The simulated robots: worlds, cameras, tasks and what executes chunks."""
