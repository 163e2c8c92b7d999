# SPDX-License-Identifier: Apache-2.0
"""Every token-selection method and policy family by name, and where its class is.

Read for the names, by the parameter table, without importing any of them; a class is imported when
it is first asked for (``core/pruners``, ``backends``).
"""

#: Token-selection methods: name -> class, below ``vla_pruner_ros.core.pruners.methods``.
PRUNERS = {
    'none': 'keep_all:KeepAll',
    'random': 'random_tokens:RandomTokens',
    'uniform': 'uniform:Uniform',
    'fastv': 'fastv:FastV',
    'sparsevlm': 'sparsevlm:SparseVLM',
    'divprune': 'divprune:DivPrune',
    'prefill_only': 'prefill_only:PrefillOnly',
    'action_only': 'action_only:ActionOnly',
    'score_fusion': 'score_fusion:ScoreFusion',
    'flashvla': 'flashvla:FlashVLA',
    'vla_pruner': 'vla_pruner:VlaPruner',
}
#: Policy families: name -> class, below ``vla_pruner_ros.backends``.
BACKENDS = {
    'pocket': 'pocket.pocket_backend:PocketBackend',
    'openvla': 'openvla.openvla_backend:OpenVlaBackend',
    'openvla_oft': 'openvla.oft_backend:OftBackend',
}
