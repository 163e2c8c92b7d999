# SPDX-License-Identifier: Apache-2.0
"""Captured signals equal what an eager, full-length pass would show; nothing else is computed."""
from decoder_reference import decoder, LIMIT, masked_reference, relative, selector, sequence
import pytest
import torch

from vla_pruner_ros.backends.shared import row_removal as pruned_decoder
from vla_pruner_ros.backends.shared.attention_rows import attention_rows, causal_mask
from vla_pruner_ros.backends.shared.row_removal import PrunedPass
from vla_pruner_ros.core.pruners.interface import Needs

KEPT = ((0, 3, 4, 7, 11), (1, 2, 5, 9, 10))


def reference(model, layout, x, cut, causal, prompt=None):
    """Masked full-length pass; its attention (1, H, T, T) per layer and hidden states."""
    weights = []
    rows = layout.remaining([torch.tensor(one) for one in KEPT[:layout.visual.images]],
                            torch.device('cpu'))
    with torch.no_grad():
        hidden = masked_reference(model, x, rows, cut, causal, prompt, weights)
    return weights, hidden


@pytest.mark.parametrize('causal', [False, True])
@pytest.mark.parametrize('dtype', [torch.float64, torch.float32])
@pytest.mark.parametrize('asked, rows', [
    ('last_token', slice(29, 30)), ('text', slice(26, 30)), ('all', slice(0, 30))])
def test_semantic_rows_equal_eager_attention(asked, rows, dtype, causal):
    layout, model, cut = sequence(2, causal=causal), decoder(dtype), 3
    torch.manual_seed(1)
    x = torch.randn(1, layout.length, 32, dtype=dtype)
    chooser = selector(KEPT, cut, needs=Needs(prefill_rows=asked))
    PrunedPass(model, layout, chooser, causal).prefill(x)
    weights, _ = reference(model, layout, x, cut, causal)
    for image, signals in enumerate(chooser._pruner.seen):
        columns = slice(1 + 12 * image, 13 + 12 * image)
        want = weights[cut - 1][0].mean(0)[rows, columns]
        assert signals.prefill_attention.shape == want.shape
        assert relative(signals.prefill_attention, want) <= LIMIT[dtype]
        assert torch.equal(signals.features, x[0, columns])
        assert (signals.image, signals.grid) == (image, (3, 4))
        assert signals.text_states is signals.visual_states is signals.attention_output is None


@pytest.mark.parametrize('asked, layers', [('latter_half', (2, 3, 4)), ('layer:1', (1,)),
                                           ('layer:4', (4,))])
@pytest.mark.parametrize('images', [1, 2])
def test_action_rows_of_parallel_decoding(asked, layers, images):
    layout, model, cut = sequence(images), decoder(torch.float64), 3
    x = torch.randn(1, layout.length, 32, dtype=torch.float64)
    run = PrunedPass(model, layout, selector(KEPT[:images], cut, needs=Needs(action_rows=asked)),
                     causal=False)
    run.prefill(x)
    weights, _ = reference(model, layout, x, cut, causal=False)
    mean = torch.stack([weights[i][0, :, layout.action].mean((0, 1)) for i in layers]).mean(0)
    feedback = run.feedback()
    assert len(feedback) == images
    for image, one in enumerate(feedback):
        columns = torch.tensor(KEPT[image]) + 1 + 12 * image
        assert (one.image, one.kept.tolist(), one.tokens) == (image, list(KEPT[image]), 12)
        assert relative(one.action_attention, mean[columns]) <= LIMIT[torch.float64]


@pytest.mark.parametrize('cut', [0, 3])
def test_action_rows_of_autoregressive_decoding_are_the_last_prompt_row_and_the_decode_rows(cut):
    layout, model = sequence(1, causal=True), decoder(torch.float64)
    x, start = torch.randn(1, layout.length + 6, 32, dtype=torch.float64), layout.length
    needs = Needs(action_rows='latter_half')
    run = PrunedPass(model, layout, selector(KEPT[:1], cut, needs=needs), True, decode_room=6)
    run.prefill(x[:, :start])
    for step in range(start, start + 6):
        run.decode(x[:, step:step + 1])
    weights, _ = reference(model, layout, x, cut, causal=True, prompt=start)
    mean = torch.stack([weights[i][0, :, start - 1:].mean((0, 1)) for i in (2, 3, 4)]).mean(0)
    [one] = run.feedback()
    assert relative(one.action_attention, mean[torch.tensor(KEPT[0]) + 1]) <= 1e-10


def test_unpruned_step_reports_action_attention_of_every_token():
    layout, model = sequence(1), decoder(torch.float64)
    x = torch.randn(1, layout.length, 32, dtype=torch.float64)
    chooser = selector([range(12)], 2, needs=Needs(action_rows='layer:4', prefill_rows='text'))
    run = PrunedPass(model, layout, chooser, causal=False)
    run.prefill(x)
    weights = []
    with torch.no_grad():
        masked_reference(model, x, torch.arange(layout.length), 5, False, None, weights)
    [one] = run.feedback()
    assert relative(one.action_attention,
                    weights[4][0, :, layout.action, 1:13].mean((0, 1))) <= 1e-10
    assert not chooser._pruner.seen  # a step without a cut asks the pruner nothing


def test_flashvla_and_sparsevlm_signals():
    layout, model, cut = sequence(2), decoder(torch.float64), 2
    x = torch.randn(1, layout.length, 32, dtype=torch.float64)
    needs = Needs(prefill_rows='text', text_states=True, attention_output=True)
    chooser = selector(KEPT, cut, needs=needs)
    result = PrunedPass(model, layout, chooser, causal=False).prefill(x)
    weights, hidden = reference(model, layout, x, cut, causal=False)
    assert relative(result.hidden, hidden[:, layout.action]) <= 1e-10
    with torch.no_grad():
        cos, sin = model.rotary(torch.arange(layout.length)[None], x.dtype)
        first, second = model.layers[0], model.layers[1]
        q, k, v = first.self_attn.project(first.input_layernorm(x), cos, sin)
        entering = x + first.self_attn.attend(q, k, v, None, False)
        entering = entering + first.mlp(first.post_attention_layernorm(entering))
        q, k, v = second.self_attn.project(second.input_layernorm(entering), cos, sin)
        output = second.self_attn.attend(q, k, v, None, False)
    for image, signals in enumerate(chooser._pruner.seen):
        columns = slice(1 + 12 * image, 13 + 12 * image)
        assert relative(signals.attention_output, output[0, columns]) <= 1e-10
        assert relative(signals.visual_states, entering[0, columns]) <= 1e-10
        assert relative(signals.text_states, entering[0, layout.text]) <= 1e-10


def test_nothing_is_captured_when_nobody_asks(monkeypatch):
    def never(*_args, **_kwargs):
        raise AssertionError('attention rows were computed')

    monkeypatch.setattr(pruned_decoder, 'attention_rows', never)
    layout, model = sequence(1), decoder(torch.float32)
    run = PrunedPass(model, layout, selector(KEPT[:1], 2), causal=False)
    run.prefill(torch.zeros(1, layout.length, 32))
    assert run.feedback() == []


def test_dropped_rows_cost_no_feed_forward_in_the_layer_before_the_cut():
    layout, model = sequence(1), decoder(torch.float32)
    seen = []
    for layer in model.layers:
        layer.mlp.register_forward_pre_hook(lambda _m, args: seen.append(args[0].shape[1]))
    PrunedPass(model, layout, selector(KEPT[:1], 2), False).prefill(
        torch.zeros(1, layout.length, 32))
    full, short, actions = layout.length, layout.length - 7, 3
    assert seen == [full, short, short, short, actions]


def test_rows_of_an_additive_and_a_boolean_mask_agree_with_softmax():
    torch.manual_seed(0)
    q, k = torch.randn(1, 4, 3, 8, dtype=torch.float64), torch.randn(1, 2, 6, 8).double()
    allowed = causal_mask(torch.tensor([1, 3, 5]), torch.arange(6))
    scores = q @ k.repeat_interleave(2, 1).transpose(2, 3) * 0.3
    want = torch.softmax(scores.masked_fill(~allowed, float('-inf')), -1)[..., 2:5]
    additive = torch.zeros(3, 6, dtype=torch.float64).masked_fill(~allowed, float('-inf'))
    for mask in (allowed, additive):
        got = attention_rows(q, k, 0.3, slice(2, 5), mask)
        assert torch.allclose(got, want, rtol=0, atol=1e-14)
