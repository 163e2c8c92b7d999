# SPDX-License-Identifier: Apache-2.0
"""The report of ``vla-pruner check`` for people: what ran, what came out, how to read it."""
from typing import Any

from vla_pruner_ros.replay.replay_report import summary_table
from vla_pruner_ros.runtime.input_mapping import parse_camera_topics

READING = (
    'kept      visual tokens of all steps; the first ones fill the window and keep all',
    'end dev.  distance between the ends of the chunk and of the unpruned one, same frame',
    "overlap   kept tokens that are also among those which the unpruned model's actions look at "
    'most; by chance')


def lines(report: dict[str, Any], width: int | None = None) -> list[str]:
    """The whole report; its table has at most ``width`` columns."""
    known = report['facts']
    text = [*_what_ran(report), f'most memory taken: {report["peak_bytes"] / 2 ** 30:.2f} GiB', '',
            f'first frame ({known["stamp_ns"]} ns, {known["instruction"]!r})']
    for name in ('prompt_tokens', 'pixels', 'visual_tokens'):
        if name in known:
            text.append(f'  {name:14} {_short(known[name])}')
    names = report['policy']['action_names']
    text.append('  first_action   ' + _pairs(names, known['first_action']))
    text += ['', summary_table(report, width), *_reading(report), '']
    for one in report['runs'][1:]:
        text += _run(one)
    return text + ['', *(f'{"ok  " if good else "FAIL"} {name.replace("_", " ")}'
                         for name, good in report['checks'].items())]


def _what_ran(report: dict[str, Any]) -> list[str]:
    policy, bag, chosen = report['policy'], report['bag'], report['parameters']
    precision = ' + '.join(one for one in report['precision'].values() if one and one != 'none')
    roles = {one.role: one.topic for one in parse_camera_topics(chosen['camera_topics'])}
    count = f' (policy_images {len(roles)})' if policy['name'] == 'openvla_oft' else ''
    text = [
        f'policy   {policy["name"]} in {precision} on {chosen["device"]}, data set '
        f'{report["data_set"]}, {1 / policy["control_dt"]:g} Hz, '
        f'{policy["action_horizon"]} actions per answer',
        f'bag      {bag["name"]}, {bag["seconds"]:.1f} s, time from {report["clock"]}',
        f'cameras  {", ".join(f"{role} = {topic}" for role, topic in roles.items())}{count}']
    if policy['state_names']:
        given = ', '.join(chosen['state_sources'])
        text.append('state    ' + (given or ', '.join(policy['state_names'])
                                   + ' from the pose and the joints of those names'))
    return text


def _reading(report: dict[str, Any]) -> list[str]:
    """What the columns mean, with what random tokens would score."""
    chances = [one['against_unpruned']['chance_overlap'] for one in report['runs'][1:]]
    if not any(chances):
        return []
    by_chance = ', '.join('-' if one is None else f'{100 * one:.0f} %' for one in chances)
    return ['', *READING[:-1], f'{READING[-1]} {by_chance}']


def _run(run: dict[str, Any]) -> list[str]:
    """Times and deviations of one pruned run."""
    against = run['against_unpruned']
    stages = ', '.join(f'{name} {value:.1f}' for name, value in run['stages_ms'].items())
    ratios = ', '.join(f'{name} x{value:.2f}' for name, value in against['speedup'].items())
    text = [f'{run["label"]}: {ratios} (ms: {stages})']
    moved = against['action_deviation']
    if moved:
        text.append(f'  mean deviation over {against["steps_compared"]} steps (mean size '
                    'unpruned): ' + ', '.join(
                        f'{name} {one["mean"]:.3g} ({one["unpruned_mean_size"]:.3g})'
                        for name, one in moved.items()))
    else:
        why = ', '.join(f'{reason} {count}x' for reason, count in run['unpruned_reasons'].items())
        text.append(f'  no step was pruned ({why or "nothing to drop"}): nothing was compared; '
                    'raise --steps')
    return text


def _pairs(names: Any, values: list[float]) -> str:
    return ', '.join(f'{name} {value:.5g}' for name, value in zip(names, values))


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return ', '.join(f'{name} {_short(one)}' for name, one in value.items())
    if isinstance(value, list):
        return ' '.join(_short(one) for one in value)
    return f'{value:.5g}' if isinstance(value, float) else str(value)
