"""What the papers say, as paired comparisons that a run can confirm or refute.

A claim of superiority holds when the 95 % interval of the paired difference lies above zero; a
claim of no loss holds when it lies above minus the stated margin.  When the interval lies wholly
on the other side, the claim does not hold; when it contains the border, the run was too small to
tell, and that is what the report says.
"""
from dataclasses import dataclass
from typing import Any, Dict, List, Sequence, Tuple

from vla_pruner_ros.core.parameters import Parameters
from vla_pruner_ros.evaluation.methods import parse_budget, parse_method, Variant
from vla_pruner_ros.evaluation.stats import difference_interval, mcnemar
from vla_pruner_ros.evaluation.summary import Results

HOLDS, FAILS = 'holds', 'does not hold'
UNDECIDED, UNTESTED = 'undecided', 'not tested'
NO_LOSS = 0.05  # success rate; a smaller loss is called none where the paper says "nothing"
#: Reuse rates that count as "about a third".
A_THIRD = (0.25, 0.42)


@dataclass(frozen=True)
class Claim:
    """First variant against second.

    Attributes:
        key: letter of the claim; several comparisons may share one.
        text: what is claimed.
        first: (method, budget) that is claimed to be better, or no worse.
        second: (method, budget) that it is compared with.
        margin: largest loss that still counts as none; 0 = the first must be better.
        moving_target: only tasks whose target moves.
        reuse_rate: lowest and highest reuse rate of the first that the claim speaks of.
    """

    key: str
    text: str
    first: Tuple[str, str]
    second: Tuple[str, str]
    margin: float = 0.0
    moving_target: bool = False
    reuse_rate: Tuple[float, float] = (0.0, 1.0)


LOW, HALF = '12.5%', '50%'
OURS = ('vla_pruner', LOW)
CLAIMS: Tuple[Claim, ...] = (
    Claim('a', 'VLA-Pruner at 50 % loses nothing', ('vla_pruner', HALF), ('none', 'all'), NO_LOSS),
    *(Claim('b', f'VLA-Pruner beats {name} at 12.5 %', OURS, (name, LOW))
      for name in ('fastv', 'sparsevlm', 'divprune', 'random', 'uniform')),
    *(Claim('c', f'combine-then-filter beats {name} at 12.5 %', OURS, (name, LOW))
      for name in ('prefill_only', 'action_only', 'score_fusion')),
    Claim('d', 'a window of 3 steps beats 1', OURS, ('vla_pruner/temporal_window=1', LOW)),
    Claim('e', 'carrying the scores of dropped tokens beats zeros (self-confirming loop)', OURS,
          ('vla_pruner/unseen=zero', LOW)),
    Claim('e', 'a refresh every 8 runs mends zeros',
          ('vla_pruner/unseen=zero/refresh_period=8', LOW), ('vla_pruner/unseen=zero', LOW)),
    Claim('f', 'reuse of about a third of the steps costs under 1 point',
          ('flashvla/reuse_image_change=0+reuse', HALF), ('flashvla', HALF), 0.01,
          reuse_rate=A_THIRD),
    Claim('g', 'the image-change veto makes reuse safer when a target moves',
          ('flashvla+reuse', HALF), ('flashvla/reuse_image_change=0+reuse', HALF),
          moving_target=True),
)


def variants(base: Parameters, tokens: int) -> Tuple[Variant, ...]:
    """Everything that the claims compare, the unpruned policy first, nothing twice."""
    sides = [side for claim in CLAIMS for side in (claim.first, claim.second)]
    return tuple(dict.fromkeys([Variant(), *(variant(side, base, tokens) for side in sides)]))


def variant(side: Tuple[str, str], base: Parameters, tokens: int) -> Variant:
    """Make the variant of (method, budget)."""
    method = parse_method(side[0], base)
    return Variant(method.pruner, parse_budget(side[1], tokens), method.settings, method.reuse)


def judge(results: Results, moving: Sequence[str]) -> List[Dict[str, Any]]:
    """Verdict on every claim (JSON types).

    Args:
        results: finished episodes.
        moving: tasks of the plan whose target moves.
    """
    return [verdict(claim, results, moving) for claim in CLAIMS]


def verdict(claim: Claim, results: Results, moving: Sequence[str]) -> Dict[str, Any]:
    """Judge one claim."""
    plan = results.plan
    first, second = (variant(side, plan.parameters, plan.tokens_per_image).label
                     for side in (claim.first, claim.second))
    said = {'key': claim.key, 'claim': claim.text, 'first': first, 'second': second,
            'margin': claim.margin}
    pairs = results.pairs(first, second, moving if claim.moving_target else None)
    if not pairs.episodes:
        why = ('no task with a moving target was run' if claim.moving_target and not moving
               else f'needs episodes of {first!r} and {second!r}')
        return {**said, 'verdict': UNTESTED, 'why': why}
    low, high = difference_interval(pairs)
    said.update(pairs=pairs.episodes, difference=pairs.difference, interval=[low, high],
                p=mcnemar(pairs), verdict=decide(low, high, claim.margin))
    lowest, highest = claim.reuse_rate
    if (lowest, highest) != (0.0, 1.0):
        rows = results.of[first].values()
        rate = sum(row['reused'] for row in rows) / max(1, sum(row['calls'] for row in rows))
        said['reuse_rate'] = rate
        if not lowest <= rate <= highest:
            said.update(verdict=UNTESTED, why=f'{rate:.0%} of the steps were reused; the claim '
                                              f'speaks of {lowest:.0%} to {highest:.0%}')
    return said


def decide(low: float, high: float, margin: float) -> str:
    """Compare an interval of first - second with minus the margin."""
    if low > -margin:
        return HOLDS
    return FAILS if high < -margin else UNDECIDED
