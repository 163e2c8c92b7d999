# SPDX-License-Identifier: Apache-2.0
"""Pruning inside a stock Hugging Face forward: equal to masking, and no trace afterwards."""
from decoder_reference import EAGER_LIMIT, LIMIT, masked_reference, relative, selector, sequence
from hf_models import hugging_face, MaskColumns, own_decoder
import pytest
import torch

from vla_pruner_ros.backends.shared.row_removal import PrunedPass
from vla_pruner_ros.core.errors import BackendError
from vla_pruner_ros.core.pruners.interface import Needs
from vla_pruner_ros.core.token_selector import TokenSelector
from vla_pruner_ros.hf import layer_access as hf_layers
from vla_pruner_ros.hf.pruning_hooks import HookedPruning

transformers = pytest.importorskip('transformers')
KEPT = ((0, 3, 4, 7, 11), (1, 2, 5, 9, 10))
DTYPES = (torch.float64, torch.float32)


def remaining(layout):
    """Original rows that stay."""
    kept = [torch.tensor(one) for one in KEPT[:layout.visual.images]]
    return layout.remaining(kept, torch.device('cpu'))


def all_hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('attention', ['sdpa', 'eager'])
@pytest.mark.parametrize('cut', [0, 1, 3])
@pytest.mark.parametrize('images', [1, 2])
def test_cached_decoding_equals_the_masked_reference(dtype, attention, cut, images):
    model = hugging_face('Llama', attention)
    decoder, layout = own_decoder(model, dtype), sequence(images, causal=True)
    x, start = torch.randn(1, layout.length + 7, 32, dtype=dtype), layout.length
    with torch.no_grad(), HookedPruning(model, layout, selector(KEPT[:images], cut)) as pruned:
        out = model(inputs_embeds=x[:, :start], use_cache=True)
        got = [out.last_hidden_state]
        for step in range(start, start + 7):
            out = model(inputs_embeds=x[:, step:step + 1], past_key_values=out.past_key_values)
            got.append(out.last_hidden_state)
    rows = remaining(layout)
    assert torch.equal(pruned.rows, rows)
    with torch.no_grad():
        want = masked_reference(decoder, x, rows, cut, True, prompt=start)
    rows = torch.cat((rows, torch.arange(start, start + 7)))
    limit = EAGER_LIMIT if attention == 'eager' and dtype == torch.float64 else LIMIT[dtype]
    assert relative(torch.cat(got, 1), want[:, rows]) <= limit


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('family', ['Llama', 'Qwen2'])
@pytest.mark.parametrize('cut', [0, 1, 3])
@pytest.mark.parametrize('images', [1, 2])
def test_parallel_decoding_equals_the_masked_reference(dtype, family, cut, images):
    model = hugging_face(family)
    decoder, layout = own_decoder(model, dtype), sequence(images)
    x = torch.randn(1, layout.length, 32, dtype=dtype)
    open_mask = torch.zeros(1, 1, layout.length, layout.length, dtype=dtype)
    with torch.no_grad(), HookedPruning(model, layout, selector(KEPT[:images], cut)) as pruned:
        got = model(inputs_embeds=x, attention_mask=open_mask).last_hidden_state
    with torch.no_grad():
        want = masked_reference(decoder, x, remaining(layout), cut, causal=False)
    assert relative(got[:, pruned.action_rows], want[:, layout.action]) <= LIMIT[dtype]


@pytest.mark.parametrize('family', ['Llama', 'Qwen2', 'Qwen3', 'Gemma'])
@pytest.mark.parametrize('cut', [0, 2])
def test_every_supported_family_equals_its_own_masked_forward(family, cut):
    model, layout = hugging_face(family), sequence(2, causal=True)
    x = torch.randn(1, layout.length, 32)
    with torch.no_grad(), HookedPruning(model, layout, selector(KEPT, cut)) as pruned:
        got = model(inputs_embeds=x).last_hidden_state
    want = MaskColumns(model, remaining(layout), layout.length, cut)(x).last_hidden_state
    assert relative(got, want[:, pruned.rows]) <= LIMIT[torch.float32]


@pytest.mark.parametrize('family', ['Llama', 'Qwen2', 'Qwen3', 'Gemma'])
@pytest.mark.parametrize('asked', ['last_token', 'text', 'all'])
def test_captured_rows_equal_eager_output_attentions(family, asked):
    layout, cut = sequence(2, causal=True), 3
    x = torch.randn(1, layout.length, 32)
    chooser = selector(KEPT, cut, needs=Needs(prefill_rows=asked, action_rows='layer:4'))
    with torch.no_grad():
        with HookedPruning(hugging_face(family), layout, chooser) as pruned:
            pruned._decoder(inputs_embeds=x)
        eager = hugging_face(family, 'eager')
        full = eager(inputs_embeds=x, output_attentions=True).attentions
        short = MaskColumns(eager, remaining(layout), layout.length, cut)(
            x, output_attentions=True).attentions
    rows = layout.semantic(asked)
    for image, signals in enumerate(chooser._pruner.seen):
        columns = layout.image(image)
        assert relative(signals.prefill_attention,
                        full[cut - 1][0].mean(0)[rows, columns]) <= LIMIT[torch.float32]
        want = short[4][0, :, layout.action].mean((0, 1))[torch.tensor(KEPT[image])
                                                          + columns.start]
        assert relative(pruned.feedback()[image].action_attention,
                        want) <= LIMIT[torch.float32]


@pytest.mark.parametrize('cut', [0, 2])
@pytest.mark.parametrize('causal', [True, False])
def test_both_routes_capture_the_same(cut, causal):
    model = hugging_face('Qwen2')
    decoder, layout = own_decoder(model, torch.float64), sequence(2, causal=causal)
    x, start = torch.randn(1, layout.length + 3, 32, dtype=torch.float64), layout.length
    needs = Needs(action_rows='latter_half')
    if cut:
        needs = Needs('text', text_states=True, attention_output=True, action_rows='latter_half')
    own, hooked = selector(KEPT, cut, needs=needs), selector(KEPT, cut, needs=needs)
    run = PrunedPass(decoder, layout, own, causal, decode_room=3)
    run.prefill(x[:, :start])
    mask = None if causal else torch.zeros(1, 1, start, start, dtype=torch.float64)
    with torch.no_grad(), HookedPruning(model, layout, hooked) as pruned:
        cache = model(inputs_embeds=x[:, :start], attention_mask=mask,
                      use_cache=True).past_key_values
        for step in range(start, start + 3):
            run.decode(x[:, step:step + 1])
            model(inputs_embeds=x[:, step:step + 1], past_key_values=cache)
    for mine, theirs in zip(own._pruner.seen, hooked._pruner.seen):
        for name in ('features', 'prefill_attention', 'text_states', 'visual_states',
                     'attention_output'):
            one, other = getattr(mine, name), getattr(theirs, name)
            assert (one is None) == (other is None) == (cut == 0 and name != 'features')
            assert one is None or relative(other, one) <= 1e-10
    for mine, theirs in zip(run.feedback(), pruned.feedback()):
        assert torch.equal(mine.kept, theirs.kept)
        assert relative(theirs.action_attention, mine.action_attention) <= 1e-10


def test_several_tokens_in_a_later_pass_equal_one_after_the_other():
    model, layout = hugging_face('Llama'), sequence(1, causal=True)
    x, start = torch.randn(1, layout.length + 3, 32), layout.length
    results = []
    for steps in ([slice(start, start + 3)],
                  [slice(i, i + 1) for i in range(start, start + 3)]):
        with torch.no_grad(), HookedPruning(model, layout, selector(KEPT[:1], 2)):
            cache = model(inputs_embeds=x[:, :start], use_cache=True).past_key_values
            results.append(torch.cat([model(inputs_embeds=x[:, one], past_key_values=cache)
                                      .last_hidden_state for one in steps], 1))
    assert relative(*results) <= LIMIT[torch.float32]


@pytest.mark.parametrize('cut', [0, 2])
def test_generate_of_a_wrapped_model_continues_at_the_original_positions(cut):
    torch.manual_seed(0)
    config = transformers.LlamaConfig(hidden_size=32, intermediate_size=48, num_hidden_layers=5,
                                      num_attention_heads=4, num_key_value_heads=2, vocab_size=64)
    model, layout = transformers.LlamaForCausalLM(config).eval(), sequence(1, causal=True)
    for one in model.parameters():
        torch.nn.init.normal_(one, 0, 0.35)
    x = torch.randn(1, layout.length, 32)
    with HookedPruning(model, layout, selector(KEPT[:1], cut)):
        tokens = model.generate(inputs_embeds=x, max_new_tokens=6, do_sample=False,
                                eos_token_id=None, pad_token_id=0)[0].tolist()
    reference, embeds = MaskColumns(model.model, remaining(layout), layout.length, cut), x
    want = []
    with torch.no_grad():
        for _ in range(6):
            hidden = reference(embeds).last_hidden_state[:, -1]
            want.append(int(model.lm_head(hidden).argmax()))
            embeds = torch.cat((embeds, model.model.embed_tokens.weight[want[-1]][None, None]), 1)
    assert tokens[-6:] == want


def test_no_hook_is_left_and_the_forward_is_bit_identical_afterwards():
    model, layout = hugging_face('Llama'), sequence(1, causal=True)
    x = torch.randn(1, layout.length, 32)
    needs = Needs('text', text_states=True, attention_output=True, action_rows='latter_half')
    with torch.no_grad():
        before = model(inputs_embeds=x).last_hidden_state
        with HookedPruning(model, layout, selector(KEPT[:1], 2, needs=needs)) as pruned:
            assert all_hooks(model) > 0
            shorter = model(inputs_embeds=x).last_hidden_state
        after = model(inputs_embeds=x).last_hidden_state
    assert shorter.shape[1] == layout.length - 7 == pruned.rows.numel()
    assert all_hooks(model) == 0
    assert torch.equal(before, after)


@pytest.mark.parametrize('where', ['inside', 'pruner', 'enter'])
def test_no_hook_is_left_after_an_exception(where, monkeypatch):
    model, layout = hugging_face('Llama'), sequence(1, causal=True)
    x, chooser = torch.randn(1, layout.length, 32), selector(KEPT[:1], 2)
    with torch.no_grad():
        before = model(inputs_embeds=x).last_hidden_state
    if where == 'pruner':
        monkeypatch.setattr(chooser._pruner, 'select', lambda *_: 1 / 0)
    if where == 'enter':
        monkeypatch.setattr(model.layers[3], 'register_forward_pre_hook', lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError), torch.no_grad():
        with HookedPruning(model, layout, chooser):
            model(inputs_embeds=x)
            raise ZeroDivisionError
    assert all_hooks(model) == 0
    with torch.no_grad():
        assert torch.equal(model(inputs_embeds=x).last_hidden_state, before)


def test_budget_all_sets_no_hook_and_is_bit_identical():
    model, layout = hugging_face('Llama'), sequence(1, causal=True)
    x = torch.randn(1, layout.length, 32)
    with torch.no_grad(), HookedPruning(model, layout, TokenSelector(None, 0, 12)) as pruned:
        assert all_hooks(model) == 0
        inside = model(inputs_embeds=x).last_hidden_state
    with torch.no_grad():
        assert torch.equal(inside, model(inputs_embeds=x).last_hidden_state)
    assert pruned.kept[0].tolist() == list(range(12)) and pruned.feedback() == []


class TestNegativeControls:
    """Each known mistake must exceed the tolerance by far."""

    cut = 2

    def error(self, decode=False, cut=2, causal=True, **call):
        model = hugging_face('Llama')
        decoder, layout = own_decoder(model, torch.float32), sequence(1, causal=causal)
        x, start = torch.randn(1, layout.length + 1, 32), layout.length
        with torch.no_grad(), HookedPruning(model, layout, selector(KEPT[:1], cut)) as pruned:
            out = model(inputs_embeds=x[:, :start], use_cache=True)
            got, row = out.last_hidden_state[:, pruned.action_rows], layout.action
            if decode:
                got = model(inputs_embeds=x[:, start:], past_key_values=out.past_key_values,
                            **call).last_hidden_state
                row = slice(start, start + 1)
            want = masked_reference(decoder, x[:, :row.stop], remaining(layout), cut, causal,
                                    prompt=start)
        return relative(got, want[:, row])

    def test_the_right_way_is_within_the_tolerance(self):
        assert self.error() <= LIMIT[torch.float32]
        assert self.error(decode=True) <= LIMIT[torch.float32]
        assert self.error(decode=True, cut=0) <= LIMIT[torch.float32]

    def test_rotary_factors_that_are_not_gathered(self, monkeypatch):
        right = hf_layers.cut_rows

        def wrong(kwargs, rows):
            factors = kwargs['position_embeddings']
            right(kwargs, rows)
            kwargs['position_embeddings'] = tuple(one[:, :rows.numel()] for one in factors)

        monkeypatch.setattr(hf_layers, 'cut_rows', wrong)
        assert self.error() > 100 * LIMIT[torch.float32]

    @pytest.mark.parametrize('cut', [0, 2])
    def test_decoding_on_at_the_kept_count(self, cut):
        kept_count = sequence(1, causal=True).length - 7
        assert self.error(decode=True, cut=cut, position_ids=torch.tensor([[kept_count]])) > (
            100 * LIMIT[torch.float32])

    def test_a_causal_mask_where_attention_is_bidirectional(self):
        assert self.error(causal=False) > 100 * LIMIT[torch.float32]


@pytest.mark.parametrize('make, message', [
    (lambda: hugging_face('Gemma2', 'eager', sliding_window=8), 'attn_logit_softcapping'),
    (lambda: hugging_face('Phi3', pad_token_id=0), 'no q_proj, k_proj'),
    (lambda: hugging_face('Mistral', sliding_window=8), r'sliding window \(8 rows\)'),
    (lambda: torch.nn.Linear(2, 2), 'Linear has no decoder layers'),
])
def test_decoders_that_are_not_understood_are_refused(make, message):
    with pytest.raises(BackendError, match=message):
        HookedPruning(make(), sequence(1), selector(KEPT[:1], 2))


def test_passes_that_cannot_be_cut_are_refused():
    model, layout = hugging_face('Llama'), sequence(1, causal=True)
    x = torch.randn(1, layout.length, 32)
    with torch.no_grad():
        with HookedPruning(model, layout, selector(KEPT[:1], 2)):
            with pytest.raises(BackendError, match='the layout wants'):
                model(inputs_embeds=x[:, 1:])
        full = model(inputs_embeds=x, use_cache=True).past_key_values
        with HookedPruning(model, layout, selector(KEPT[:1], 2)):
            with pytest.raises(BackendError, match='empty dynamic cache'):
                model(inputs_embeds=x, past_key_values=full)
        with HookedPruning(model, layout, selector(KEPT[:1], 2)) as pruned:
            model(inputs_embeds=x)
            with pytest.raises(BackendError, match='must continue over'):
                model(inputs_embeds=x, use_cache=False)
        with pytest.raises(BackendError, match='one policy call'):
            with pruned:
                pass
    assert all_hooks(model) == 0
