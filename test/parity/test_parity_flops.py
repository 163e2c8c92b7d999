# SPDX-License-Identifier: Apache-2.0
"""The published column of multiply-adds for OpenVLA (arXiv 2511.16449), within 0.5 %."""
import pytest

from vla_pruner_ros.core.flops import decoder_flops

#: Visual tokens kept -> tera multiply-adds, as printed.
PUBLISHED = {256: 1.906, 128: 1.139, 64: 0.758, 32: 0.571}
#: Rows of text, averaged over tasks.  The paper does not give it; one number must explain all.
TEXT = 34.6


def worst(text, prune_layer=3):
    """Largest relative error over the column."""
    return max(abs(decoder_flops(32, 4096, 11008, 256 + text, prune_layer, kept + text)
                   / (tera * 1e12) - 1) for kept, tera in PUBLISHED.items())


def test_one_mean_prompt_length_explains_the_whole_column():
    assert worst(TEXT) < 0.005  # 0.002


@pytest.mark.parametrize('prune_layer', [2, 4])
def test_no_prompt_length_explains_it_with_another_cut(prune_layer):
    assert min(worst(20 + step / 10, prune_layer) for step in range(300)) > 0.01
