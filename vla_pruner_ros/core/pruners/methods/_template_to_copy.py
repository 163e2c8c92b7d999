# SPDX-License-Identifier: Apache-2.0
"""`NAME`: copy this file for a new method; it runs as it stands and is not registered.

Say here in three sentences what is kept and why, the paper, our deviations, and what this file
does not know.  Then add a line to ``core/registries.py``, a row to ``docs/algorithms.md``, and in
``test/helpers/core_support.py`` the signals it asks for; every shared test then runs it.

As an example it keeps the tokens whose embeddings are longest, before the first layer.  A method
that reads the decoder sets ``reads_decoder`` and asks in ``needs`` for what it reads (``fastv.py``
is the smallest); one that remembers where the actions looked derives from
``ActionAttentionPruner`` (``action_only.py`` is the smallest).
"""
from torch import Tensor

from vla_pruner_ros.core.pruners.interface import ScorePruner, Signals


class TemplatePruner(ScorePruner):
    """Keep the tokens with the longest embeddings."""

    name = 'template'
    source = 'nobody: the norm of an embedding says little'
    reference_layer = 0

    def score(self, signals: Signals) -> Tensor:
        """(M,) length of each token's embedding; higher is kept."""
        length: Tensor = signals.features.float().norm(dim=-1)
        return length
