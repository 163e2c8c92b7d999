# SPDX-License-Identifier: Apache-2.0
"""``VisualPruning`` in stock vision-language models: exact, with a memory, and clear refusals."""
from decoder_reference import LIMIT, relative
from hf_models import hugging_face
from hf_vlms import FAMILIES, generated_logits, HiddenColumns, vision_language_model
import pytest
import torch

from vla_pruner_ros.core.errors import BackendError, ConfigError
from vla_pruner_ros.hf import VisualPruning

pytest.importorskip('transformers')
WIDE = torch.float64
#: Cuts before layer 0, inside the decoder, and before its last layer.
CUTS = [('divprune', {}, 0), ('fastv', {'prune_layer': 2}, 2), ('fastv', {'prune_layer': 3}, 3)]


def pruned_and_masked(model, inputs, method, settings, cut, keep=3):
    """Logits of a pruned generation and of the stock model with the same columns masked."""
    pruning = VisualPruning(model, keep, method, **settings)
    with pruning.step(inputs['input_ids']) as step:
        got = generated_logits(model, inputs)
    with HiddenColumns(model, step.rows, inputs['input_ids'].shape[1], cut):
        want = generated_logits(model, inputs)
    return step, got, want


@pytest.mark.parametrize('method, settings, cut', CUTS)
def test_generate_equals_the_masked_model_in_double_precision(method, settings, cut):
    model, inputs = vision_language_model('Llava', WIDE)
    step, got, want = pruned_and_masked(model, inputs, method, settings, cut)
    assert relative(got, want) <= LIMIT[WIDE]
    assert step.unpruned_reason == '' and [len(one) for one in step.kept] == [3]
    assert step.rows.tolist() == [0, 1, 2, *(3 + step.kept[0]).tolist(), 19, 20, 21]


@pytest.mark.parametrize('attention', ['sdpa', 'eager'])
@pytest.mark.parametrize('method, settings, cut', CUTS[:2])
@pytest.mark.parametrize('family', FAMILIES)
def test_generate_of_every_family_equals_its_own_masked_model(family, method, settings, cut,
                                                              attention):
    model, inputs = vision_language_model(family, attention=attention)
    plain = generated_logits(model, inputs)
    _, got, want = pruned_and_masked(model, inputs, method, settings, cut)
    assert relative(got, want) <= LIMIT[torch.float32]
    assert relative(got, plain) > 100 * LIMIT[torch.float32]  # the tolerance could fail


@pytest.mark.parametrize('family', FAMILIES)
def test_the_tokens_kept_are_those_the_last_prompt_row_looks_at(family):
    model, inputs = vision_language_model(family, attention='eager')
    with torch.no_grad():
        seen = model(**inputs, output_attentions=True).attentions[1]  # the layer before the cut
        with VisualPruning(model, 3, 'fastv', prune_layer=2).step(inputs['input_ids']) as step:
            model(**inputs)
    score = seen[0, :, -1, 3:-3].mean(0)
    assert step.kept[0].tolist() == sorted(score.topk(3).indices.tolist())


@pytest.mark.parametrize('wrong', ['rows', 'cut'])
def test_another_mask_is_far_from_the_pruned_model(wrong):
    model, inputs = vision_language_model('Llava', WIDE)
    step, got, _ = pruned_and_masked(model, inputs, 'fastv', {'prune_layer': 2}, 2)
    rows = step.rows.clone()
    if wrong == 'rows':  # one other token, next to the first kept one or before it
        first = int(step.kept[0][0])
        rows[3] = 3 + first + (1 if first + 1 not in step.kept[0].tolist() else -1)
    with HiddenColumns(model, rows, 22, 3 if wrong == 'cut' else 2):
        assert relative(got, generated_logits(model, inputs)) > 1e4 * LIMIT[WIDE]


@pytest.mark.parametrize('keep, method', [(0, 'fastv'), (16, 'vla_pruner'), (3, 'none')])
def test_keeping_all_is_bit_identical_to_the_plain_model(keep, method):
    model, inputs = vision_language_model('Llava')
    plain = generated_logits(model, inputs)
    pruning = VisualPruning(model, keep, method)
    for _ in range(4):  # also past the warm-up
        with pruning.step(inputs['input_ids']) as step:
            assert torch.equal(generated_logits(model, inputs), plain)
        assert step.kept[0].tolist() == list(range(16))
        assert step.unpruned_reason == ('none' if method == 'none' else 'budget_all')


def counts(pruning, model, inputs, steps):
    """Tokens kept in each of ``steps`` control steps."""
    kept = []
    for _ in range(steps):
        with pruning.step(inputs['input_ids']) as step:
            generated_logits(model, inputs, 3)
        kept.append(len(step.kept[0]))
    return kept


def test_the_memory_of_the_method_lives_across_steps_until_it_is_reset():
    model, inputs = vision_language_model('Llava')
    pruning = VisualPruning(model, 4, 'vla_pruner', temporal_window=2)
    assert counts(pruning, model, inputs, 4) == [16, 16, 4, 4]
    assert pruning.steps == 4
    pruning.reset()
    assert counts(pruning, model, inputs, 3) == [16, 16, 4]


def test_a_step_that_failed_or_never_ran_is_not_remembered():
    model, inputs = vision_language_model('Llava')
    pruning = VisualPruning(model, 4, 'vla_pruner', temporal_window=1)
    with pytest.raises(ZeroDivisionError), pruning.step(inputs['input_ids']):
        generated_logits(model, inputs)
        raise ZeroDivisionError
    with pruning.step(inputs['input_ids']):
        pass
    assert pruning.steps == 0
    assert counts(pruning, model, inputs, 2) == [16, 4]


def test_embeddings_with_named_rows_and_two_images_in_a_plain_forward():
    model = hugging_face('Llama')
    x = torch.randn(1, 30, 32)
    pruning = VisualPruning(model, 5, 'uniform', images=2, grid=(3, 4))
    with torch.no_grad(), pruning.step(x, visual=slice(1, 25)) as step:
        hidden = model(inputs_embeds=x).last_hidden_state
    assert [len(one) for one in step.kept] == [5, 5]
    assert hidden.shape[1] == len(step.rows) == 30 - 2 * (12 - 5)
    assert step.rows.tolist()[-5:] == [25, 26, 27, 28, 29]


def test_parallel_decoding_reads_the_action_rows_of_the_same_pass():
    model = hugging_face('Llama')
    x, open_mask = torch.randn(1, 20, 32), torch.zeros(1, 1, 20, 20)
    pruning = VisualPruning(model, 5, 'action_only', action_scores='current', causal=False,
                            prune_layer=2)
    with torch.no_grad(), pruning.step(x, slice(1, 13), action=slice(17, 20)) as step:
        hidden = model(inputs_embeds=x, attention_mask=open_mask).last_hidden_state
    eager = hugging_face('Llama', 'eager')
    with torch.no_grad():
        seen = eager(inputs_embeds=x, attention_mask=open_mask, output_attentions=True).attentions
    score = seen[1][0, :, 17:, 1:13].mean((0, 1))
    assert step.kept[0].tolist() == sorted(score.topk(5).indices.tolist())
    assert hidden[:, step.action_rows].shape == (1, 3, 32)


@pytest.mark.parametrize('how, message', [
    ({'num_beams': 2}, r'\(2, 22, 32\) rows, the layout wants \(1, 22, hidden\)'),
    ({'use_cache': False}, 'must continue over the cache'),
    ({'cache_implementation': 'static'}, 'StaticCache; only a plain DynamicCache'),
])
def test_generation_that_cannot_be_cut_is_refused(how, message):
    model, inputs = vision_language_model('Llava')
    pruning = VisualPruning(model, 3, 'fastv')
    with pytest.raises(BackendError, match=message), pruning.step(inputs['input_ids']):
        model.generate(**inputs, max_new_tokens=3, do_sample=False, eos_token_id=None, **how)


@pytest.mark.parametrize('prompt, more, message', [
    ([1, 2, 3], {}, 'none of the 3 tokens of the prompt is the image token 63'),
    ([63, 63, 5, 63, 63, 6], {}, 'rows 0:5 are not one run'),
    ([1, 63, 63, 63, 5], {'images': 2}, 'rows 1:4 are not 2 images'),
    ([1, 63, 63, 63, 5], {'grid': (2, 2)}, 'grid is 2 x 2, but an image has 3 tokens'),
    ([[[0.0]]], {}, r'name them with visual=slice\(first, last \+ 1\)'),
    ([[1], [2]], {}, r'the prompt has shape \(2, 1\)'),
])
def test_prompts_whose_visual_rows_are_not_known_are_refused(prompt, more, message):
    pruning = VisualPruning(hugging_face('Llama'), 2, 'fastv', image_token_id=63, **more)
    tensor = torch.tensor(prompt if isinstance(prompt[0], list) else [prompt])
    with pytest.raises(ConfigError, match=message):
        pruning.step(tensor)


@pytest.mark.parametrize('how, message', [
    ({'method': 'best'}, "pruner is 'best'; accepted: one of none, random"),
    ({'keep': -1}, 'token_budget is -1; accepted: a whole number from 0 to 4096'),
    ({'prune_layers': 3}, "unknown setting 'prune_layers'; accepted: seed, prune_layer, "),
    ({'token_budget': 3}, "unknown setting 'token_budget'"),
    ({'prune_layer': 9}, 'prune_layer is 9, but the decoder has 5 layers'),
    ({'images': 0}, 'images is 0; accepted: 1 or more'),
])
def test_settings_that_do_not_fit_are_refused(how, message):
    with pytest.raises(ConfigError, match=message):
        VisualPruning(hugging_face('Llama'), **{'keep': 4, 'method': 'fastv', **how})
