# SPDX-License-Identifier: Apache-2.0
"""Our decoder and the pruned pass against the stock Hugging Face forward."""
from decoder_reference import EAGER_LIMIT, LIMIT, masked_reference, relative, selector, sequence
from hf_models import hugging_face, own_decoder
import pytest
import torch

from vla_pruner_ros.backends.shared.row_removal import PrunedPass
from vla_pruner_ros.core.token_selector import TokenSelector

pytest.importorskip('transformers')
FAMILIES = ('Llama', 'Qwen2')
DTYPES = (torch.float64, torch.float32)
KEPT = ((0, 3, 4, 7, 11), (1, 2, 5, 9, 10))


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('family', FAMILIES)
@pytest.mark.parametrize('heads', [2, 4])
def test_unpruned_prefill_and_cached_decoding_equal_the_stock_forward(family, dtype, heads):
    model = hugging_face(family, num_key_value_heads=heads)
    decoder, layout = own_decoder(model, dtype), sequence(1, causal=True)
    x, start = torch.randn(1, layout.length + 7, 32, dtype=dtype), layout.length
    run = PrunedPass(decoder, layout, TokenSelector(None, 0, 12), causal=True, decode_room=7)
    with torch.no_grad():
        out = model(inputs_embeds=x[:, :start], use_cache=True)
        assert relative(run.prefill(x[:, :start]).hidden,
                        out.last_hidden_state[:, -1:]) <= LIMIT[dtype]
        for step in range(start, start + 7):
            out = model(inputs_embeds=x[:, step:step + 1], use_cache=True,
                        past_key_values=out.past_key_values)
            assert relative(run.decode(x[:, step:step + 1]),
                            out.last_hidden_state) <= LIMIT[dtype]


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('family', FAMILIES)
def test_unpruned_parallel_decoding_equals_the_stock_forward_without_a_mask(family, dtype):
    model = hugging_face(family)
    decoder, layout = own_decoder(model, dtype), sequence(2)
    x = torch.randn(1, layout.length, 32, dtype=dtype)
    run = PrunedPass(decoder, layout, TokenSelector(None, 0, 12), causal=False)
    open_mask = torch.zeros(1, 1, layout.length, layout.length, dtype=dtype)
    with torch.no_grad():
        want = model(inputs_embeds=x, attention_mask=open_mask).last_hidden_state
    assert relative(run.prefill(x).hidden, want[:, layout.action]) <= LIMIT[dtype]


@pytest.mark.parametrize('family', FAMILIES)
def test_the_masked_reference_itself_equals_eager_attentions(family):
    model = hugging_face(family, attention='eager')
    decoder, layout = own_decoder(model, torch.float64), sequence(1, causal=True)
    x, weights = torch.randn(1, layout.length, 32, dtype=torch.float64), []
    with torch.no_grad():
        want = model(inputs_embeds=x, output_attentions=True)
        got = masked_reference(decoder, x, torch.arange(layout.length), 5, True, None, weights)
    assert relative(got, want.last_hidden_state) <= EAGER_LIMIT
    for mine, theirs in zip(weights, want.attentions):
        assert relative(mine, theirs) <= EAGER_LIMIT


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('cut', [0, 1, 3])
def test_real_layout_weights_pruned_equal_the_masked_reference(dtype, cut):
    decoder, layout = own_decoder(hugging_face('Qwen2'), dtype), sequence(2)
    x = torch.randn(1, layout.length, 32, dtype=dtype)
    rows = layout.remaining([torch.tensor(one) for one in KEPT], torch.device('cpu'))
    got = PrunedPass(decoder, layout, selector(KEPT, cut), causal=False).prefill(x).hidden
    with torch.no_grad():
        want = masked_reference(decoder, x, rows, cut, causal=False)
    assert relative(got, want[:, layout.action]) <= LIMIT[dtype]
