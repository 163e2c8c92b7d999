# SPDX-License-Identifier: Apache-2.0
"""The count of multiply-adds, pinned to the table of arXiv 2511.16449."""
import pytest

from vla_pruner_ros.core.flops import decoder_flops, layer_flops

LLAMA = {'layers': 32, 'hidden': 4096, 'width': 11008}
TEXT = 35


@pytest.mark.parametrize('kept, tera, within', [
    (256, 1.906, 0.001), (128, 1.139, 0.003), (64, 0.758, 0.006), (32, 0.571, 0.004)])
def test_openvla_column_is_reproduced(kept, tera, within):
    flops = decoder_flops(**LLAMA, tokens=256 + TEXT, prune_layer=3, kept=kept + TEXT)
    assert flops / 1e12 == pytest.approx(tera, rel=within)


@pytest.mark.parametrize('prune_layer', [2, 4])
def test_another_layer_would_miss_the_table_by_far(prune_layer):
    flops = decoder_flops(**LLAMA, tokens=256 + TEXT, prune_layer=prune_layer, kept=64 + TEXT)
    assert abs(flops / 0.758e12 - 1) > 0.04


def test_one_layer_by_hand():
    # 4 * 3 * 2^2 + 2 * 3^2 * 2 + 3 * 3 * 2 * 5
    assert layer_flops(3, 2, 5) == 48 + 36 + 90


def test_without_a_cut_all_layers_are_full():
    full = decoder_flops(**LLAMA, tokens=291)
    assert full == 32 * layer_flops(291, 4096, 11008)
    assert decoder_flops(**LLAMA, tokens=291, prune_layer=3, kept=291) == full
    assert decoder_flops(**LLAMA, tokens=291, prune_layer=0, kept=99) == 32 * layer_flops(
        99, 4096, 11008)
