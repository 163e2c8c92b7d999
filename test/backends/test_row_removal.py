# SPDX-License-Identifier: Apache-2.0
"""Removing rows equals masking their columns: prefill, parallel decoding, cached decoding."""
from decoder_reference import decoder, LIMIT, masked_reference, relative, selector, sequence
import pytest
import torch

from vla_pruner_ros.backends.shared import row_removal
from vla_pruner_ros.backends.shared.row_removal import PrunedPass
from vla_pruner_ros.core.errors import BackendError
from vla_pruner_ros.core.pruners.interface import Needs
from vla_pruner_ros.core.token_selector import TokenSelector

KEPT = ((0, 3, 4, 7, 11), (1, 2, 5, 9, 10))
DTYPES = (torch.float64, torch.float32)


def embeddings(layout, dtype, extra=0):
    """Random embeddings of a layout, plus rows to decode later."""
    torch.manual_seed(3)
    return torch.randn(1, layout.length + extra, 32, dtype=dtype)


def remaining(layout, kept):
    """Original rows that stay."""
    return layout.remaining([torch.tensor(one) for one in kept], torch.device('cpu'))


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('causal', [False, True])
@pytest.mark.parametrize('images', [1, 2])
def test_budget_all_is_bit_identical_to_the_plain_forward(dtype, causal, images):
    layout, model = sequence(images, causal=causal), decoder(dtype)
    x = embeddings(layout, dtype)
    everything = TokenSelector(None, 12, 12)
    result = PrunedPass(model, layout, everything, causal, decode_room=2).prefill(x)
    with torch.no_grad():
        assert torch.equal(result.hidden, model(x, causal=causal)[:, layout.action])
    assert [one.tolist() for one in result.kept] == [list(range(12))] * images


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('cut', [0, 1, 3])
@pytest.mark.parametrize('images', [1, 2])
def test_parallel_decoding_equals_the_masked_reference(dtype, cut, images):
    layout, model, kept = sequence(images), decoder(dtype), KEPT[:images]
    x = embeddings(layout, dtype)
    result = PrunedPass(model, layout, selector(kept, cut), causal=False).prefill(x)
    with torch.no_grad():
        want = masked_reference(model, x, remaining(layout, kept), cut, causal=False)
    assert relative(result.hidden, want[:, layout.action]) <= LIMIT[dtype]


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('cut', [0, 1, 3])
@pytest.mark.parametrize('images', [1, 2])
def test_cached_decoding_equals_the_masked_reference_for_seven_steps(dtype, cut, images):
    layout, model, kept = sequence(images, causal=True), decoder(dtype), KEPT[:images]
    x, start = embeddings(layout, dtype, extra=7), layout.length
    run = PrunedPass(model, layout, selector(kept, cut), causal=True, decode_room=7)
    got = [run.prefill(x[:, :start]).hidden]
    got += [run.decode(x[:, start + step:start + step + 1]) for step in range(7)]
    with torch.no_grad():
        want = masked_reference(model, x, remaining(layout, kept), cut, True, prompt=start)
    assert relative(torch.cat(got, 1), want[:, start - 1:]) <= LIMIT[dtype]
    dropped = images * (12 - 5)
    lengths = [start + 7 - (dropped if layer >= cut else 0) for layer in range(5)]
    assert list(run.cache.lengths) == lengths == list(run.cache.capacities)


@pytest.mark.parametrize('cut', [0, 1, 3])
def test_all_remaining_rows_come_back_when_no_action_rows_are_named(cut):
    base, model = sequence(2, causal=True), decoder(torch.float64)
    layout = type(base)(base.length, base.visual, base.text, None)
    x = embeddings(layout, torch.float64)
    result = PrunedPass(model, layout, selector(KEPT, cut), causal=True).prefill(x)
    rows = remaining(layout, KEPT)
    assert [one.tolist() for one in result.kept] == [list(one) for one in KEPT]
    with torch.no_grad():
        want = masked_reference(model, x, rows, cut, causal=True)
    assert relative(result.hidden, want[:, rows]) <= LIMIT[torch.float64]


def test_several_decode_rows_at_once_equal_one_after_the_other():
    layout, model = sequence(1, causal=True), decoder(torch.float64)
    x, start = embeddings(layout, torch.float64, extra=4), layout.length
    single = PrunedPass(model, layout, selector(KEPT[:1], 2), causal=True, decode_room=4)
    single.prefill(x[:, :start])
    want = torch.cat([single.decode(x[:, i:i + 1]) for i in range(start, start + 4)], 1)
    block = PrunedPass(model, layout, selector(KEPT[:1], 2), causal=True, decode_room=4)
    block.prefill(x[:, :start])
    assert relative(block.decode(x[:, start:]), want) <= LIMIT[torch.float64]


def test_trimming_the_last_layer_changes_nothing_but_rounding():
    layout, model = sequence(1), decoder(torch.float64)
    x = embeddings(layout, torch.float64)
    runs = [PrunedPass(model, layout, selector(KEPT[:1], 2), False, trim=trim).prefill(x).hidden
            for trim in (False, True)]
    assert relative(*runs) <= LIMIT[torch.float64]


class TestNegativeControls:
    """The tolerances above must be able to fail: each known mistake exceeds them by far."""

    cut = 2

    def run(self, causal, decode=0):
        layout, model = sequence(1, causal=causal), decoder(torch.float32)
        x = embeddings(layout, torch.float32, extra=decode)
        rows = remaining(layout, KEPT[:1])
        with torch.no_grad():
            want = masked_reference(model, x, rows, self.cut, causal, prompt=layout.length)
        return layout, model, x, want

    def test_rotary_factors_that_are_not_gathered(self, monkeypatch):
        def first_rows(rows, local):
            count = len(local)
            return row_removal._Rows(rows.x[:, local], rows.numbers[local],
                                     rows.cos[:, :count], rows.sin[:, :count])

        layout, model, x, want = self.run(causal=False)
        monkeypatch.setattr(row_removal._Rows, 'pick', first_rows)
        got = PrunedPass(model, layout, selector(KEPT[:1], self.cut), causal=False).prefill(x)
        assert relative(got.hidden, want[:, layout.action]) > 100 * LIMIT[torch.float32]

    def test_decoding_on_at_the_kept_count(self):
        layout, model, x, want = self.run(causal=True, decode=1)
        run = PrunedPass(model, layout, selector(KEPT[:1], self.cut), True, decode_room=1)
        run.prefill(x[:, :layout.length])
        run._next = layout.length - 7  # the mistake: count of rows that remain
        got = run.decode(x[:, -1:])
        assert relative(got, want[:, -1:]) > 100 * LIMIT[torch.float32]

    def test_a_causal_mask_where_attention_is_bidirectional(self):
        layout, model, x, want = self.run(causal=False)
        got = PrunedPass(model, layout, selector(KEPT[:1], self.cut), causal=True).prefill(x)
        assert relative(got.hidden, want[:, layout.action]) > 100 * LIMIT[torch.float32]

    def test_cutting_one_layer_too_late(self):
        layout, model, x, want = self.run(causal=False)
        got = PrunedPass(model, layout, selector(KEPT[:1], self.cut + 1), causal=False).prefill(x)
        assert relative(got.hidden, want[:, layout.action]) > 100 * LIMIT[torch.float32]


@pytest.mark.parametrize('cut, needs, message', [
    (5, Needs(), 'layers 0..4'),
    (0, Needs(prefill_rows='text'), 'no attention to read'),
    (2, Needs(action_rows='layer:9'), 'layer 9'),
    (2, Needs(action_rows='middle'), 'latter_half'),
])
def test_requests_that_no_layer_can_answer_are_refused(cut, needs, message):
    with pytest.raises(BackendError, match=message):
        PrunedPass(decoder(torch.float32), sequence(1), selector(KEPT[:1], cut, needs=needs),
                   causal=False)


def test_wrong_length_and_missing_memory_are_refused():
    layout = sequence(1)
    run = PrunedPass(decoder(torch.float32), layout, selector(KEPT[:1], 2), causal=False)
    with pytest.raises(BackendError, match='layout wants'):
        run.prefill(torch.zeros(1, layout.length + 1, 32))
    with pytest.raises(BackendError, match='decode_room'):
        run.decode(torch.zeros(1, 1, 32))


def test_decoding_past_the_memory_is_refused():
    layout = sequence(1, causal=True)
    run = PrunedPass(decoder(torch.float32), layout, selector(KEPT[:1], 2), True, decode_room=1)
    run.prefill(torch.zeros(1, layout.length, 32))
    run.decode(torch.zeros(1, 1, 32))
    with pytest.raises(BackendError, match='key/value memory'):
        run.decode(torch.zeros(1, 1, 32))


@pytest.mark.parametrize('text, action', [
    (slice(10, 15), None), (slice(14, 99), None), (slice(15, 15), None),
    (slice(14, 18), slice(0, 3)),
])
def test_spans_that_cannot_be_are_refused(text, action):
    base = sequence(1)
    with pytest.raises(BackendError, match='rows'):
        type(base)(base.length, base.visual, text, action)
