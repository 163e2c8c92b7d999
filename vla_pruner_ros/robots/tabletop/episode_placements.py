# SPDX-License-Identifier: Apache-2.0
"""Episodes of the tabletop tasks: which objects lie where, what is asked, what will move.

An episode is drawn from a seed by rejection sampling and holds everything that is random, so the
same seed gives the same episode.  The simulation itself is in ``robot``, success in ``rules``.
"""
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vla_pruner_ros.robots.tabletop.arm_kinematics import WORKSPACE_HIGH, WORKSPACE_LOW
from vla_pruner_ros.robots.tabletop.tabletop_objects import (
    BALL,
    BOWL,
    COLOURS,
    CUBE,
    HALF_HEIGHT,
    NAMED_COLOURS,
    POST,
    SHAPES,
    touch_points,
)
from vla_pruner_ros.robots.tasks import CONTROL_DT

AREA_LOW = np.array([0.31, -0.17])  # metres; objects are placed in this rectangle
AREA_HIGH = np.array([0.53, 0.17])
MIN_GAP = 0.10  # metres between the centres of two objects
BOWL_GAP = 0.12
MAX_YAW = np.deg2rad(15.0)
HAND_HEIGHTS = (0.10, 0.22)  # metres, where the hand may start
HAND_GAP = 0.08  # metres from every touch point at the start
RELATION_GAP = 0.08  # metres by which 'left' and 'right' (or 'near' and 'far') differ at least
SLIDE_SPEED = 0.20  # metres per second
SLIDE_LENGTHS = (0.15, 0.25)  # metres
SLIDE_STEPS = (6, 14)  # control steps after which a slide may start
SLIDE_GAP = 0.08  # metres that sliding balls keep from each other, centre to centre
SIDES: dict[str, tuple[int, int]] = {  # word -> axis, sign of the named object's coordinate
    'left': (1, -1), 'right': (1, 1), 'near': (0, 1), 'far': (0, -1)}  # as the front camera sees


@dataclass(frozen=True)
class Item:
    """One object: index into SHAPES and COLOURS, centre (3,) in metres, yaw in radians."""

    shape: int
    colour: int
    position: np.ndarray
    yaw: float


@dataclass(frozen=True)
class Slide:
    """A planned movement: ``item`` leaves after ``start`` control steps for ``end`` (2,)."""

    item: int
    start: int
    end: np.ndarray


@dataclass(frozen=True)
class Episode:
    """Everything random of one episode.

    Attributes:
        items: the objects, in random order (place-bowl: the cube first).
        goals: items that matter, in this order (touch-two: two; place-bowl: cube and bowl).
        words: values for the fields of the task's wordings.
        hand: start of the point between the finger tips (3,), metres.
        slides: movements of follow-moving.
        wall: x of the wall in metres, or None.
    """

    items: tuple[Item, ...]
    goals: tuple[int, ...]
    words: dict[str, str]
    hand: np.ndarray
    slides: tuple[Slide, ...] = ()
    wall: float | None = None


Kind = tuple[int, int]  # shape, colour
Draw = Callable[[np.random.Generator], Episode | None]


def draw_episode(task: str, seed: int) -> Episode:
    """The episode of a tabletop task and a seed."""
    rng = np.random.default_rng([seed, sorted(_DRAWS).index(task)])
    while True:  # a drawing function gives None when its placement does not work out
        episode = _DRAWS[task](rng)
        if episode is not None:
            return episode


def _spread(rng: np.random.Generator, count: int, gap: float = MIN_GAP,
            low: np.ndarray = AREA_LOW, high: np.ndarray = AREA_HIGH) -> np.ndarray | None:
    points = rng.uniform(low, high, (count, 2))
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    return points if (distances + 9 * np.eye(count)).min() >= gap else None


def _items(rng: np.random.Generator, kinds: Sequence[Kind], points: np.ndarray) \
        -> tuple[Item, ...]:
    return tuple(Item(shape, colour, np.append(point, HALF_HEIGHT[shape]),
                      float(rng.uniform(-MAX_YAW, MAX_YAW)))
                 for (shape, colour), point in zip(kinds, points))


def _hand(rng: np.random.Generator, items: Sequence[Item]) -> np.ndarray:
    touch = touch_points(np.array([item.position for item in items]),
                         np.array([item.shape for item in items]))
    while True:
        hand = np.append(rng.uniform(WORKSPACE_LOW[:2], WORKSPACE_HIGH[:2]),
                         rng.uniform(*HAND_HEIGHTS))
        if np.linalg.norm(touch - hand, axis=1).min() >= HAND_GAP:
            return hand


def _colours(rng: np.random.Generator, count: int) -> list[int]:
    return [int(colour) for colour in rng.permutation(NAMED_COLOURS)[:count]]


def _simple(rng: np.random.Generator, kinds: Sequence[Kind], goals: tuple[int, ...] = (0,),
            gap: float = MIN_GAP) -> Episode | None:
    points = _spread(rng, len(kinds), gap)
    if points is None:
        return None
    items = _items(rng, kinds, points)
    goal = items[goals[-1] if kinds[goals[-1]][0] == BOWL else goals[0]]
    words = {'colour': COLOURS[goal.colour], 'shape': SHAPES[goal.shape],
             'second': COLOURS[items[goals[-1]].colour]}
    return Episode(items, goals, words, _hand(rng, items))


def _reach_colour(rng: np.random.Generator) -> Episode | None:
    return _simple(rng, [(CUBE, colour) for colour in _colours(rng, 4)])


def _reach_shape(rng: np.random.Generator) -> Episode | None:
    colour = _colours(rng, 1)[0]
    return _simple(rng, [(int(shape), colour) for shape in rng.permutation([CUBE, BALL, POST])])


def _reach_object(rng: np.random.Generator) -> Episode | None:
    shape, other_shape = (int(value) for value in rng.permutation([CUBE, BALL, POST])[:2])
    colour, other_colour = _colours(rng, 2)
    kinds = [(shape, colour), (other_shape, colour), (shape, other_colour)]
    rest = [(s, c) for s in (CUBE, BALL, POST) for c in range(NAMED_COLOURS) if (s, c) != kinds[0]]
    return _simple(rng, kinds + [rest[rng.integers(len(rest))]])


def _reach_relation(rng: np.random.Generator) -> Episode | None:
    shape = int(rng.integers(3))
    colour = _colours(rng, 1)[0]
    rest = [(s, c) for s in (CUBE, BALL, POST) for c in range(NAMED_COLOURS)
            if (s, c) != (shape, colour)]
    others = [rest[int(i)] for i in rng.permutation(len(rest))[:rng.integers(1, 3)]]
    side = str(rng.choice(list(SIDES)))
    episode = _simple(rng, [(shape, colour), (shape, colour)] + others)
    if episode is None:
        return None
    axis, sign = SIDES[side]
    named, other = (item.position[axis] for item in episode.items[:2])
    if sign * (named - other) < RELATION_GAP:
        return None
    return Episode(episode.items, (0,), {**episode.words, 'side': side}, episode.hand)


def _reach_behind(rng: np.random.Generator) -> Episode | None:
    count = int(rng.integers(2, 4))
    wall = float(rng.uniform(0.46, 0.50))
    points = _spread(rng, count, MIN_GAP, np.array([wall - 0.085, -0.16]),
                     np.array([wall - 0.050, 0.16]))
    if points is None:
        return None
    items = _items(rng, [(CUBE, colour) for colour in _colours(rng, count)], points)
    middle = np.array([wall - 0.07, float(np.mean(points[:, 1]))])
    hand = np.append(middle + rng.uniform([-0.06, -0.04], [0.02, 0.04]), rng.uniform(0.22, 0.27))
    hand[:2] = np.clip(hand[:2], WORKSPACE_LOW[:2], WORKSPACE_HIGH[:2])
    words = {'colour': COLOURS[items[0].colour]}
    return Episode(items, (0,), words, hand, wall=wall)


def _touch_two(rng: np.random.Generator) -> Episode | None:
    count = int(rng.integers(3, 5))
    return _simple(rng, [(CUBE, colour) for colour in _colours(rng, count)], (0, 1))


def _pick_colour(rng: np.random.Generator) -> Episode | None:
    return _simple(rng, [(CUBE, colour) for colour in _colours(rng, 3)])


def _place_bowl(rng: np.random.Generator) -> Episode | None:
    kinds = [(CUBE, int(rng.integers(NAMED_COLOURS)))]
    return _simple(rng, kinds + [(BOWL, colour) for colour in _colours(rng, 3)], (0, 1), BOWL_GAP)


def _follow_moving(rng: np.random.Generator) -> Episode | None:
    movers = 1 + int(rng.random() < 0.5)  # half of the time a wrong ball moves as well
    while True:  # here and not in draw_episode, or the crowded half would be drawn less often
        points = _spread(rng, 3)
        slides = [] if points is None else [_slide(rng, i, points[i]) for i in range(movers)]
        if points is not None and all(slides) and _slide_gap(points, slides) >= SLIDE_GAP:
            break
    items = _items(rng, [(BALL, colour) for colour in _colours(rng, 3)], points)
    words = {'colour': COLOURS[items[0].colour]}
    return Episode(items, (0,), words, _hand(rng, items), tuple(s for s in slides if s))


def _slide(rng: np.random.Generator, item: int, start: np.ndarray) -> Slide | None:
    end = rng.uniform(AREA_LOW, AREA_HIGH)
    if not SLIDE_LENGTHS[0] <= np.linalg.norm(end - start) <= SLIDE_LENGTHS[1]:
        return None
    return Slide(item, int(rng.integers(SLIDE_STEPS[0], SLIDE_STEPS[1] + 1)), end)


def slide_position(start: np.ndarray, slide: Slide, steps: np.ndarray) -> np.ndarray:
    """Where (..., 2) a ball that lay at ``start`` (2,) is after ``steps`` control steps (...)."""
    way = slide.end - start
    share = (steps - slide.start) * CONTROL_DT * SLIDE_SPEED / np.linalg.norm(way)
    position: np.ndarray = start + np.clip(share, 0.0, 1.0)[..., None] * way
    return position


def _slide_gap(points: np.ndarray, slides: Sequence[Slide | None]) -> float:
    steps = np.arange(SLIDE_STEPS[0], 44)  # by then every ball has stopped
    paths = np.repeat(points[:, None], len(steps), axis=1)
    for slide in slides:
        if slide is not None:
            paths[slide.item] = slide_position(points[slide.item], slide, steps)
    return min(float(np.linalg.norm(paths[i] - paths[j], axis=-1).min())
               for i, j in ((0, 1), (0, 2), (1, 2)))


_DRAWS: dict[str, Draw] = {
    'reach-colour': _reach_colour, 'reach-shape': _reach_shape, 'reach-object': _reach_object,
    'reach-relation': _reach_relation, 'reach-behind': _reach_behind, 'touch-two': _touch_two,
    'follow-moving': _follow_moving, 'pick-colour': _pick_colour, 'place-bowl': _place_bowl}
