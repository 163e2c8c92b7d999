# SPDX-License-Identifier: Apache-2.0
"""How the robot moves, and what it still solves, while the model takes time.

Episodes run in virtual time: nothing waits, and the same command gives the same rows on any
machine with these library versions.  Finished episodes are kept at once in ``episodes.jsonl``:
the same command continues a run that was stopped, and a larger one extends it.
"""
import argparse
from itertools import product
from pathlib import Path
import sys

from vla_pruner_ros.backends.policy_outline import policy_outline, PolicyOutline
from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.evaluation.plan import episode_plan
from vla_pruner_ros.evaluation.plan.method_variants import parse_budget
from vla_pruner_ros.evaluation.plan.requested_work import checkpoint_digest, words
from vla_pruner_ros.evaluation.real_time import real_time_report as reports
from vla_pruner_ros.evaluation.real_time.model_delays import parse_delay
from vla_pruner_ros.evaluation.real_time.real_time_plan import (
    LOCK_STEP,
    NAIVE,
    parse_way,
    RealTimePlan,
    Setting,
)
from vla_pruner_ros.evaluation.real_time.real_time_summary import summarize
from vla_pruner_ros.evaluation.running import episode_scheduler as scheduler
from vla_pruner_ros.evaluation.running.episode_journal import Journal
from vla_pruner_ros.evaluation.running.process_pools import check_jobs, local_pool, Pool
from vla_pruner_ros.evaluation.running.time_estimate import Meter
from vla_pruner_ros.robots.controlled_robot import check_controller
from vla_pruner_ros.robots.tasks import get_task
from vla_pruner_ros.runtime.headless_pyplot import pyplot
from vla_pruner_ros.runtime.parameter_files import load_parameters
from vla_pruner_ros.runtime.progress_line import Progress

OUT = Path('out/real_time')
WORKER = 'vla_pruner_ros.evaluation.real_time.real_time_worker:RealTimeWorker'
#: One thread per process, because the processes fill the machine.
BASE = Parameters(threads=1)


def run_real_time(options: argparse.Namespace) -> int:
    """Evaluate as the command line says; returns the exit status.

    Raises:
        ConfigError: an argument or the journal cannot be used; no episode was run.
    """
    check_jobs(options.jobs)
    if not 1.0 <= options.camera_hz <= 250.0:
        raise ConfigError(f'--camera-hz is {options.camera_hz:g}; accepted: 1 to 250')
    plan = make_plan(options)
    if not options.no_plots:
        pyplot('or leave them out with --no-plots')  # better refused now than after hours
    with Journal(options.out, plan) as journal:
        if not options.report_only:
            status = _execute(plan, journal, options)
            if status:
                return status
        if not journal.rows:
            raise ConfigError(f'{journal.path} has no episode to report on')
        summary = summarize(plan, journal.rows)
        planned = {job.name for job in plan.jobs()}
        rows = {name: row for name, row in journal.rows.items() if name in planned}
        files = reports.write(summary, rows, options.out, not options.no_plots)
    print('\n'.join([*reports.motion_table(summary), '', *reports.success_table(summary)]))
    print('\n' + '\n'.join(str(one) for one in files))
    return 0


def make_plan(options: argparse.Namespace) -> RealTimePlan:
    """What the command line asks for.

    Raises:
        ConfigError: an argument is unusable.
    """
    parameters = load_parameters(options.config, options.set, BASE)
    if options.checkpoint:
        parameters = parameters.changed({'checkpoint': options.checkpoint})
    outline = policy_outline(parameters)
    tasks = words(options.tasks) if options.tasks else outline.tasks
    for task in tasks:
        get_task(task)
    seeds = episode_plan.seeds(options.episodes, episode_plan.FIRST_SEED
                               if options.first_seed is None else options.first_seed)
    return RealTimePlan(tasks, seeds, settings_of(options, outline, parameters), parameters,
                        checkpoint_digest(parameters), options.camera_hz)


def settings_of(options: argparse.Namespace, outline: PolicyOutline,
                base: Parameters) -> tuple[Setting, ...]:
    """Everything that is crossed; lock step has neither delay nor controller.

    Raises:
        ConfigError: an unknown word.
    """
    ways = [parse_way(one, base) for one in words(options.ways)]
    delays = [parse_delay(one) for one in words(options.delays)]
    controllers = [check_controller(one) for one in words(options.controllers)]
    budgets = [parse_budget(one, outline.tokens_per_image) for one in words(options.budgets)]
    reuses = {'off': (False,), 'on': (True,), 'both': (False, True)}[options.reuse]
    found: dict[Setting, None] = {}
    for tokens, reuse in product(budgets, reuses):
        for way, changes in ways:
            if way == LOCK_STEP:
                found[Setting(way, tokens=tokens, reuse=reuse, changes=changes)] = None
        for delay, controller, (way, changes) in product(delays, controllers, ways):
            if way != LOCK_STEP and (way, controller) != (NAIVE, 'servo'):
                found[Setting(way, delay, tokens, reuse, controller, changes)] = None
    return tuple(found)


def _execute(plan: RealTimePlan, journal: Journal, options: argparse.Namespace) -> int:
    units = scheduler.missing(plan, journal)
    lacking, total = sum(len(unit) for unit in units), len(plan.jobs())
    if not units:
        return 0
    progress = Progress('real-time', total)
    meter = Meter(progress, total, total - lacking, len(units[0]) * options.jobs)
    try:
        with _pool(plan, options, lacking) as pool:
            scheduler.run(units, journal, pool, meter.on_row)
    except KeyboardInterrupt:
        progress.end('interrupted')
        print(f'what is finished is kept in {journal.path}; the same command continues there',
              file=sys.stderr)
        return 130
    progress.end(f'{total} episodes')
    return 0


def _pool(plan: RealTimePlan, options: argparse.Namespace, jobs: int) -> Pool:
    from vla_pruner_ros.evaluation.real_time.real_time_worker import RealTimeSetup
    setup = RealTimeSetup(plan.parameters, plan.camera_hz, plan.seeds[0])
    count = min(options.jobs, jobs)
    return local_pool(count, setup, WORKER)
