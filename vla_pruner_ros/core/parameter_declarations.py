# SPDX-License-Identifier: Apache-2.0
"""The one table of parameters: node, YAML files, documentation, replay and tests all read it.

Each field of ``Parameters`` is one parameter, with its default, description, range or choices,
whether it may change while the policy runs, and its level: ``basic`` where the right value depends
on the robot or on what is asked of it, so that every user has to think of it; ``expert`` where the
default serves until there is a reason.  A ``Parameters`` object is an immutable snapshot:
``changed`` checks a whole set of changes and returns a new snapshot or raises, never half of it.
Nothing here knows ROS.
"""
from collections.abc import Mapping
import dataclasses
from dataclasses import dataclass, Field, field, fields
import math
from typing import Any, cast

from vla_pruner_ros.core import registries
from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.core.whole_number import layer_number

LEVELS = ('basic', 'expert')
GROUPS = ('model', 'pruning', 'reuse', 'inputs', 'outputs', 'safety', 'runtime')


def _param(default: Any, group: str, doc: str, *, low: float | None = None,
           high: float | None = None, choices: tuple[str, ...] = (), live: bool = False,
           basic: bool = False) -> Any:
    return field(default=default, metadata={
        'level': LEVELS[0] if basic else LEVELS[1], 'group': group, 'doc': doc, 'low': low,
        'high': high, 'choices': choices, 'live': live})


PRUNERS, BACKENDS = tuple(registries.PRUNERS), tuple(registries.BACKENDS)


@dataclass(frozen=True)
class Parameters:
    """Snapshot of all parameters; see the field metadata for ranges and descriptions."""

    # model: fixed once configured
    backend: str = _param('pocket', 'model', 'Policy family to load.', choices=BACKENDS,
                          basic=True)
    checkpoint: str = _param('', 'model', 'Checkpoint directory, name of a shipped policy '
                             '(metaworld, tabletop), or for OpenVLA a repository id of the '
                             'Hugging Face hub; empty = the weights shipped with the backend.',
                             basic=True)
    revision: str = _param('', 'model', 'Branch, tag or commit of a checkpoint that is a '
                           'repository id; empty = its main branch.')
    dtype: str = _param('auto', 'model', 'Precision of the weights; auto = that of the '
                        'checkpoint. The shipped policy is always float32.',
                        choices=('auto', 'float32', 'bfloat16', 'float16'))
    quantization: str = _param('none', 'model', "Weights of the language model's layers in 8 or 4 "
                               'bits (OpenVLA only; needs torchao, int4 also dtype bfloat16).',
                               choices=('none', 'int8', 'int4'))
    unnorm_key: str = _param('', 'model', 'Data set whose statistics scale the actions; needed '
                             'where a checkpoint has several.')
    center_crop: bool = _param(False, 'model', 'Show the policy the middle 0.9 of the image area: '
                               'for checkpoints that were fine-tuned with random crops.')
    image_resize: str = _param('bicubic', 'model', 'Resizing of camera images: bicubic as the '
                               'published processor, lanczos as the training pipeline.',
                               choices=('bicubic', 'lanczos'))
    policy_images: int = _param(1, 'model', 'Cameras of an OpenVLA-OFT checkpoint; its files do '
                                'not say.', low=1, high=3)
    action_chunk: int = _param(0, 'model', 'Actions per answer of an OpenVLA-OFT checkpoint; '
                               '0 = by its data set (LIBERO 8, Bridge 5, ALOHA 25).',
                               low=0, high=100)
    action_bounds: str = _param('auto', 'model', 'Statistics that normalised values are spread '
                                'over; auto = those of the data set.',
                                choices=('auto', 'quantiles', 'min_max'))
    control_rate: float = _param(0.0, 'model', 'Control steps per second of an OpenVLA-type '
                                 "policy; 0 = its data set's own.", low=0.0, high=1000.0)
    gripper_convention: str = _param(
        'dataset', 'model', "What the policy's gripper values mean; dataset = 1 open, 0 closed.",
        choices=('dataset', 'open_is_one', 'open_is_zero', 'open_is_minus_one'))
    device: str = _param('cpu', 'model', 'Torch device: cpu, cuda or cuda:N.', basic=True)
    threads: int = _param(0, 'model', 'Torch CPU threads; 0 = leave torch its own choice.',
                          low=0, high=256)
    seed: int = _param(0, 'model', 'Seed of the random pruner.', low=0, high=2**31 - 1)

    # pruning
    token_budget: int = _param(64, 'pruning', 'Visual tokens kept per image after the cut; 0 or '
                               'at least as many as the image has = keep all.',
                               low=0, high=4096, live=True, basic=True)
    pruner: str = _param('vla_pruner', 'pruning', 'Token selection method.', choices=PRUNERS,
                         live=True, basic=True)
    prune_layer: int = _param(-1, 'pruning', 'Decoder layer before which tokens are dropped; -1 = '
                              "the method's own default for the loaded model.",
                              low=-1, high=128, live=True)
    preset: str = _param('default', 'pruning', "'paper' reproduces the VLA-Pruner reference: zero "
                         'fill of unseen tokens, no refresh, no image-change veto.',
                         choices=('default', 'paper'), live=True)
    semantic_query: str = _param('auto', 'pruning', 'Prompt rows whose attention is the semantic '
                                 'score; auto = last_token on causal, text on bidirectional '
                                 'models.',
                                 choices=('auto', 'last_token', 'text', 'all'), live=True)
    action_layers: str = _param('latter_half', 'pruning', "Layers whose action attention is read: "
                                "'latter_half' or 'layer:N'.", live=True)
    action_scores: str = _param('history', 'pruning', 'Action attention that counts: of the past '
                                'steps, of the current one (models that decode in parallel: '
                                'the layer before the cut), or the mean of both.',
                                choices=('history', 'current', 'both'), live=True)
    temporal_window: int = _param(3, 'pruning', 'Past control steps in the smoothed action score '
                                  '(w); also the unpruned warm-up.', low=1, high=32, live=True)
    temporal_decay: float = _param(0.8, 'pruning', 'Weight ratio between one step and the next '
                                   'older one (gamma).', low=0.01, high=1.0, live=True)
    reversed_decay: bool = _param(False, 'pruning', 'Give the oldest step of the window the '
                                  'largest weight, as the published OpenVLA code does; for '
                                  'comparisons.', live=True)
    unseen: str = _param('carry', 'pruning', 'Action score of a token that was dropped: carry = '
                         'last known, decayed; zero = as in the reference.',
                         choices=('carry', 'zero'), live=True)
    refresh_period: int = _param(0, 'pruning', 'Run one unpruned step every so many model runs; '
                                 '0 = never.', low=0, high=10000, live=True)

    # action reuse (FlashVLA)
    reuse: bool = _param(False, 'reuse', 'Answer stable control steps with the remaining part of '
                         'the last chunk instead of running the model.', live=True, basic=True)
    reuse_angle: float = _param(0.1, 'reuse', 'Largest angle (rad) between the last two actions '
                                '(eps1).', low=0.0, high=math.pi, live=True)
    reuse_overlap: float = _param(0.6, 'reuse', 'Smallest overlap of the last two kept token sets '
                                  '(eps2).', low=0.0, high=1.0, live=True)
    max_consecutive_reuses: int = _param(1, 'reuse', 'Hard cap on reused steps in a row.',
                                         low=1, high=100, live=True)
    reuse_min_norm: float = _param(1e-3, 'reuse', 'Actions with a smaller norm than this (action '
                                   'units) count as standing still: stable without an angle.',
                                   low=0.0, high=100.0, live=True)
    reuse_image_change: float = _param(4.0, 'reuse', 'Mean absolute change (0..255) of a camera '
                                       'thumbnail that vetoes reuse; 0 = off.',
                                       low=0.0, high=255.0, live=True)

    # inputs
    camera_topics: tuple[str, ...] = _param(
        ('corner=/camera/image_raw',), 'inputs', "One 'role=topic' per camera of the policy; a "
        "topic that ends in /compressed, or 'role=topic@compressed', is a CompressedImage.",
        basic=True)
    joint_state_topic: str = _param('/joint_states', 'inputs', 'sensor_msgs/JointState topic; '
                                    'empty = none.')
    pose_topic: str = _param('/ee_pose', 'inputs', 'geometry_msgs/PoseStamped of the end '
                             'effector; empty = none.', basic=True)
    instruction_topic: str = _param('/instruction', 'inputs', 'std_msgs/String topic.')
    instruction: str = _param('', 'inputs', 'Instruction used until one arrives on the topic.',
                              live=True, basic=True)
    state_sources: tuple[str, ...] = _param(
        (), 'inputs', "Where each state value of the policy comes from: 'name=joint.JOINT', "
        "'name=pose.x' (x y z qx qy qz qw) or 'name=const.0.5'; empty = the defaults of the "
        'policy.')
    max_image_age: float = _param(0.5, 'inputs', 'Oldest usable image and joint state, seconds.',
                                  low=0.01, high=60.0, live=True)
    max_skew: float = _param(0.1, 'inputs', 'Largest stamp difference between cameras, and '
                             'between camera and state, seconds.', low=0.001, high=60.0, live=True)
    max_gap: float = _param(2.0, 'inputs', 'Silence longer than this resets the policy, seconds.',
                            low=0.05, high=600.0, live=True)

    # outputs
    dry_run: bool = _param(False, 'outputs', 'Publish chunks on ~/dry_run/* only; the robot gets '
                           'nothing.', live=True, basic=True)
    outputs: tuple[str, ...] = _param(
        (), 'outputs', "One line per controller, 'name=kind:topic#columns@rate', e.g. "
        "'left=joint_trajectory:/left_arm_controller/joint_trajectory#0-5'; kinds: "
        'joint_trajectory, follow_joint_trajectory, forward_position, forward_velocity, '
        'ee_trajectory, twist, pose, gripper_trajectory, gripper_action, '
        "parallel_gripper_action; empty = the node's own topics.", basic=True)
    execution_horizon: int = _param(4, 'outputs', 'Actions of a chunk that are executed before '
                                    'the next one is due.', low=1, high=1000, live=True,
                                    basic=True)
    min_lead: float = _param(0.01, 'outputs', 'Points of a chunk that are past or nearer than '
                             'this many seconds are left out: at least one period of the '
                             'controller.',
                             low=0.0, high=1.0, live=True)
    chunk_join: str = _param('linear', 'outputs', 'How a new chunk is joined to the motion under '
                             'way: replace = at once, linear = a cross-fade, ensemble = a '
                             'weighted mean of all chunks, rtc = the policy itself continues the '
                             'rows that are executed meanwhile (policies that can inpaint).',
                             choices=('replace', 'linear', 'ensemble', 'rtc'), live=True)
    join_time: float = _param(0.1, 'outputs', 'Length of the cross-fade, seconds.', low=0.0,
                              high=10.0, live=True)
    chunk_timing: str = _param('auto', 'outputs', 'When row 0 of a chunk is executed: observation '
                               '= its time counts from the image, rows that are past are left '
                               'out; answer = when the answer is there, from where the robot is; '
                               'auto = by the measured delay.',
                               choices=('auto', 'observation', 'answer'), live=True)
    max_overlap: float = _param(0.0, 'outputs', 'Seconds before the end of a motion at which the '
                                'next observation may be taken, when rows begin with the answer; '
                                '0 = the robot stands still while the model thinks.', low=0.0,
                                high=60.0, live=True)
    joint_names: tuple[str, ...] = _param((), 'outputs', 'Joint names of published joint chunks; '
                                          'empty = the action names of the policy.')
    base_frame: str = _param('base', 'outputs', 'frame_id of published chunks, and of the '
                             'poses that are used; others are refused.')
    gripper_joint: str = _param('gripper', 'outputs', 'Joint name in gripper commands.')
    gripper_open: float = _param(1.0, 'outputs', 'Published gripper position for open.')
    gripper_closed: float = _param(0.0, 'outputs', 'Published gripper position for closed.')
    gripper_effort: float = _param(0.0, 'outputs', 'Largest effort in gripper goals, newtons or '
                                   'newton-metres; 0 = left to the gripper.', low=0.0,
                                   high=1000.0)
    gripper_mode: str = _param('auto', 'outputs', 'binary = open or closed, with hysteresis; '
                               'continuous = every position between; auto = as the policy was '
                               'trained.', choices=('auto', 'binary', 'continuous'), live=True)
    gripper_hysteresis: float = _param(0.1, 'outputs', 'The gripper changes its mind only beyond '
                                       'this distance from the middle (fraction of the range).',
                                       low=0.0, high=0.49, live=True)
    publish_overlay: bool = _param(True, 'outputs', 'Publish the kept-token overlay while '
                                   'somebody subscribes.', live=True)

    # safety
    max_step: tuple[float, ...] = _param((), 'safety', 'Largest change per control step, one '
                                         'value for all actions or one each (action units); '
                                         'empty = off.',
                                         live=True)
    position_low: tuple[float, ...] = _param((), 'safety', 'Lower position limits (end effector '
                                             'x y z, or per joint); empty = off.', live=True,
                                             basic=True)
    position_high: tuple[float, ...] = _param((), 'safety', 'Upper position limits.', live=True,
                                              basic=True)
    max_velocity: tuple[float, ...] = _param((), 'safety', 'Velocity limits, units per second, '
                                             'for all or one each; empty = off.', live=True,
                                             basic=True)
    max_acceleration: tuple[float, ...] = _param((), 'safety', 'Acceleration limits, units per '
                                                 'second squared, for all or one each; empty = '
                                                 'off.', live=True)
    tracking_tolerance: tuple[float, ...] = _param((), 'safety', 'How far the robot may be from '
                                                   'where it was sent before its motion starts '
                                                   'again from the measurement; one value or one '
                                                   'per coordinate; empty = 0.05 m and 0.2 rad, '
                                                   '0.15 rad of a joint.', live=True)
    watchdog_timeout: float = _param(1.0, 'safety', 'Seconds without a fresh chunk until the '
                                     'watchdog acts.', low=0.05, high=60.0, live=True)
    watchdog_action: str = _param('hold', 'safety', 'What the watchdog publishes: hold the pose, '
                                  'zero motion, or nothing.', choices=('hold', 'zero', 'none'),
                                  live=True)

    # runtime
    autostart: bool = _param(True, 'runtime', 'Configure and activate at start.')
    lock_step: bool = _param(False, 'runtime', 'Answer every image exactly once and never trim '
                             'past points: for simulators that wait for the policy.')
    target_period: float = _param(0.2, 'runtime', 'Wanted seconds per control step; slower ones '
                                  'show as a warning in diagnostics.', low=0.001, high=60.0,
                                  live=True)
    status_rate: float = _param(1.0, 'runtime', 'Diagnostics per second.', low=0.1, high=50.0)

    def changed(self, updates: Mapping[str, Any], *, running: bool = False) -> 'Parameters':
        """Return a new snapshot with all ``updates``, or raise and change nothing.

        Args:
            updates: parameter name -> value (lists are taken as tuples, ints as floats).
            running: refuse parameters that cannot change while the policy runs.

        Raises:
            ConfigError: names every refused parameter, its value and what is accepted.
        """
        table = table_by_name()
        problems: list[str] = []
        clean: dict[str, Any] = {}
        for name, value in updates.items():
            spec = table.get(name)
            if spec is None:
                problems.append(f'unknown parameter {name!r}; known: {", ".join(sorted(table))}')
            elif running and not spec.metadata['live'] and _coerce(
                    spec, value) != getattr(self, name):
                problems.append(f'{name} is read-only while the policy is configured')
            else:
                reason, clean[name] = _check(spec, value)
                if reason:
                    problems.append(reason)
        if problems:
            raise ConfigError('; '.join(problems))
        result = dataclasses.replace(self, **clean)
        result._check_together()
        return result

    def effective(self) -> 'Parameters':
        """Return the snapshot with its preset applied: what the algorithms really run with."""
        if self.preset == 'paper':
            return dataclasses.replace(self, unseen='zero', refresh_period=0,
                                       reuse_image_change=0.0)
        return self

    def _check_together(self) -> None:
        if len(self.position_low) != len(self.position_high):
            raise ConfigError(f'position_low has {len(self.position_low)} values and '
                              f'position_high {len(self.position_high)}; give both the same '
                              'length')
        for low, high in zip(self.position_low, self.position_high):
            if not low < high:
                raise ConfigError(f'position_low {low} is not below position_high {high}')
        if self.gripper_open == self.gripper_closed:
            raise ConfigError(f'gripper_open and gripper_closed are both {self.gripper_open}')
        if self.action_layers != 'latter_half' and layer_number(self.action_layers) is None:
            raise ConfigError(f'action_layers is {self.action_layers!r}; accepted: '
                              "'latter_half' or 'layer:N'")


def table() -> tuple['Field[Any]', ...]:
    """All parameters in declaration order (dataclass fields; see ``metadata``)."""
    return fields(Parameters)


def table_by_name() -> dict[str, 'Field[Any]']:
    """Parameters by name."""
    return {one.name: one for one in table()}


def accepted(spec: 'Field[Any]') -> str:
    """Say in words what a parameter accepts."""
    meta = spec.metadata
    if meta['choices']:
        return 'one of ' + ', '.join(meta['choices'])
    kind = type(spec.default).__name__
    names = {'str': 'text', 'bool': 'true or false', 'int': 'a whole number', 'float': 'a number',
             'tuple': 'a list'}
    words = names[kind]
    if meta['low'] is not None:
        words += f' from {meta["low"]:g} to {meta["high"]:g}'
    return words


def _coerce(spec: 'Field[Any]', value: Any) -> Any:
    if isinstance(spec.default, tuple) and isinstance(value, (list, tuple)):
        return tuple(value)
    if isinstance(spec.default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


def _check(spec: 'Field[Any]', value: Any) -> tuple[str, Any]:
    value = _coerce(spec, value)
    refusal = f'{spec.name} is {value!r}; accepted: {accepted(spec)}'
    if type(value) is not type(spec.default):
        return refusal, value
    if isinstance(value, tuple):
        of_numbers = spec.metadata['group'] == 'safety'
        wanted = (int, float) if of_numbers else (str,)
        for one in value:
            if not isinstance(one, wanted) or (of_numbers and not math.isfinite(cast(float, one))):
                return f'{refusal} of {"finite numbers" if of_numbers else "texts"}', value
        return '', tuple(float(one) for one in value) if of_numbers else value
    if spec.metadata['choices'] and value not in spec.metadata['choices']:
        return refusal, value
    if isinstance(value, float) and not math.isfinite(value):
        return refusal, value
    low, high = spec.metadata['low'], spec.metadata['high']
    if low is not None and not low <= value <= high:
        return refusal, value
    return '', value
