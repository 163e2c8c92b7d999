# SPDX-License-Identifier: Apache-2.0
"""Success under pruning, in closed loop, with paired seeds.

Every method runs the same episodes in simulation, with the control step of the ROS node, in lock
step.  Finished episodes are kept at once in ``episodes.jsonl``: the same command continues a run
that was stopped, and a larger one extends it.  Results: report.json, report.md and plots.
With several ``--checkpoint`` (training seeds) every policy runs the same plan, and the report
pools them.
"""
import argparse
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
import sys
from typing import Any

from vla_pruner_ros.core.errors import ConfigError, VlaPrunerError
from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.evaluation.plan import published_claims as claims
from vla_pruner_ros.evaluation.plan import reuse_sweep as sweep
from vla_pruner_ros.evaluation.plan.episode_plan import Plan
from vla_pruner_ros.evaluation.plan.requested_work import (
    make_work,
    Work,
)
from vla_pruner_ros.evaluation.report import evaluation_report as reports
from vla_pruner_ros.evaluation.report.evaluation_summary import PolicyRun, Results, summarize
from vla_pruner_ros.evaluation.running import episode_scheduler as runner
from vla_pruner_ros.evaluation.running.episode_journal import Journal
from vla_pruner_ros.evaluation.running.process_pools import check_jobs, local_pool, Pool
from vla_pruner_ros.evaluation.running.time_estimate import Meter
from vla_pruner_ros.runtime.headless_pyplot import pyplot
from vla_pruner_ros.runtime.output_files import check_folder
from vla_pruner_ros.runtime.parameter_files import load_parameters
from vla_pruner_ros.runtime.progress_line import Progress
from vla_pruner_ros.runtime.terminal_tables import terminal_width

#: One thread per process, because the processes fill the machine.  A new chunk at every control
#: step, because the simulator's episodes last only 4 to 125 of them.
BASE = Parameters(threads=1, execution_horizon=1)
OUT, OUT_SWEEP = Path('out/eval'), Path('out/sweep')


def run_evaluation(options: argparse.Namespace) -> int:
    """Evaluate as the command line says; returns the exit status.

    Raises:
        ConfigError: an argument or the journal cannot be used; no episode was run.
        OutputError: an episode or the report cannot be written; what is in the journal stays.
    """
    check_jobs(options.jobs)
    if options.out is None:
        options.out = OUT_SWEEP if options.sweep_reuse else OUT
    parameters = load_parameters(options.config, options.set, BASE)
    check_folder(options.out)  # before policies are loaded
    work = make_work(options, parameters)
    if not options.no_plots:
        pyplot('or leave them out with --no-plots')  # better refused now than after hours
    with ExitStack() as stack:  # all journals, because a refused one should not cost hours either
        journals = [stack.enter_context(Journal(one.folder, one.plan, options.resume))
                    for one in work.policies]
        if not options.report_only:
            status = execute(work, journals, options)
            if status:
                return status
        report_on(work, journals, options)
    return 0


def execute(work: Work, journals: Sequence[Journal], options: argparse.Namespace) -> int:
    """Run what is missing, policy by policy; returns the exit status."""
    lacking = [runner.missing(one.plan, journal) for one, journal in zip(work.policies, journals)]
    counts = [sum(len(unit) for unit in units) for units in lacking]
    total = sum(len(one.plan.jobs()) for one in work.policies)
    before = total - sum(counts)
    if before == total:
        return 0
    if before:
        print(f'{before} of {total} episodes are in {places(journals)} already', file=sys.stderr)
    progress = Progress('eval', total)
    first = next(len(units[0]) for units in lacking if units)
    meter = Meter(progress, total, before, first * options.jobs)
    try:
        for one, journal, units, count in zip(work.policies, journals, lacking, counts):
            if count:
                with make_pool(one.plan, options, count) as pool:
                    runner.run(units, journal, pool, meter.on_row)
    except KeyboardInterrupt:
        progress.end('interrupted')
        print(how_to_continue(work, journals), file=sys.stderr)
        return 130
    except VlaPrunerError:
        progress.end('stopped')
        print(how_to_continue(work, journals), file=sys.stderr)
        raise
    progress.end(f'{total} episodes')
    return 0


def places(journals: Sequence[Journal]) -> str:
    """The journal, or the folder of all."""
    return str(journals[0].path if len(journals) == 1 else journals[0].path.parent.parent)


def how_to_continue(work: Work, journals: Sequence[Journal]) -> str:
    """What is kept, and what to do next."""
    names = [(job.name, journal) for one, journal in zip(work.policies, journals)
             for job in one.plan.jobs()]
    done = sum(name in journal.rows for name, journal in names)
    return (f'{done} of {len(names)} episodes are kept in {places(journals)}; the same command '
            'continues there (with --report-only it reports on them)')


def make_pool(plan: Plan, options: argparse.Namespace, jobs: int) -> Pool:
    """Where to run."""
    from vla_pruner_ros.evaluation.running.episode_worker import WorkerSetup
    setup = WorkerSetup(plan.environment, plan.parameters, plan.warm_up)
    count = min(options.jobs, jobs)
    if options.ray is not None:
        from vla_pruner_ros.evaluation.running.ray_pool import RayActors
        return RayActors(options.ray, count, setup)
    return local_pool(count, setup)


def report_on(work: Work, journals: Sequence[Journal], options: argparse.Namespace) -> None:
    """Write and print the results.

    Raises:
        ConfigError: no episode of the plan is finished.
        OutputError: the report cannot be written; its table was printed.
    """
    results = Results([PolicyRun(one.name, one.plan, journal.rows)
                       for one, journal in zip(work.policies, journals)])
    if not results.finished:
        raise ConfigError(f'{places(journals)} has no episode of this plan to report on')
    report: dict[str, Any] = {'tool': 'vla-pruner eval', **summarize(results),
                              'claims': claims.judge(results, work.claims)}
    print(reports.summary(report, terminal_width()), flush=True)  # first, because writing can fail
    if options.sweep_reuse:
        print(sweep.suggestion(report['variants']))
    files: list[Path] = reports.write(report, options.out, not options.no_plots)
    print('\n'.join(str(path) for path in files))
