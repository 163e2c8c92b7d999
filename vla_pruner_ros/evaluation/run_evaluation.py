"""``vla-pruner eval``: success under pruning, in closed loop, with paired seeds.

Every method runs the same episodes in simulation, with the control step of the ROS node, in lock
step.  Finished episodes are kept at once in ``episodes.jsonl``: the same command continues a run
that was stopped, and a larger one extends it.  Results: report.json, report.md and plots.
With several ``--checkpoint`` (training seeds) every policy runs the same plan, and the report
pools them.
"""
import argparse
from contextlib import ExitStack
from pathlib import Path
import sys
from typing import Any, Dict, List, Optional, Sequence

from vla_pruner_ros.core.errors import ConfigError, VlaPrunerError
from vla_pruner_ros.core.parameter_table import Parameters
from vla_pruner_ros.evaluation.plan import episode_plan as plans
from vla_pruner_ros.evaluation.plan import published_claims as claims
from vla_pruner_ros.evaluation.plan import reuse_sweep as sweep
from vla_pruner_ros.evaluation.plan.episode_plan import Plan
from vla_pruner_ros.evaluation.plan.requested_work import (
    BUDGETS,
    EPISODES,
    make_work,
    PRUNERS,
    QUICK,
    Work,
)
from vla_pruner_ros.evaluation.report import evaluation_report as reports
from vla_pruner_ros.evaluation.report.evaluation_summary import PolicyRun, Results, summarize
from vla_pruner_ros.evaluation.running import episode_scheduler as runner
from vla_pruner_ros.evaluation.running.episode_journal import Journal, RESUME
from vla_pruner_ros.evaluation.running.process_pools import Inline, MOST_JOBS, Pool, Processes
from vla_pruner_ros.evaluation.running.time_estimate import Meter
from vla_pruner_ros.runtime.parameter_reading import load_parameters
from vla_pruner_ros.runtime.progress_line import Progress

#: One thread per process, because the processes fill the machine.  A new chunk at every control
#: step, because the simulator's episodes last only 4 to 125 of them.
BASE = Parameters(threads=1, execution_horizon=1)
OUT, OUT_SWEEP = Path('out/eval'), Path('out/sweep')
ALL = ','.join(claims.KEYS)


def arguments() -> argparse.ArgumentParser:
    """Command line."""
    parser = argparse.ArgumentParser(prog='vla-pruner eval', description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add('--checkpoint', action='append', default=[], metavar='POLICY', help='policy to evaluate; '
        'given several times (training seeds), all run the same and the report pools them')
    add('--tasks', help='comma-separated; default: all that the policy was trained on')
    add('--pruners', help='comma-separated methods PRUNER[/NAME=VALUE...][+reuse], e.g. '
        f"'vla_pruner,vla_pruner/temporal_window=1,flashvla+reuse'; default {PRUNERS}")
    add('--budgets', help="visual tokens kept per image: 'all', shares like 25%% or numbers; "
        f'default {BUDGETS.replace("%", "%%")}')
    add('--claims', nargs='?', const=ALL, metavar='LETTERS', help='run exactly what the published '
        f'claims compare; {ALL} or some of them')
    add('--claim-tasks', action='append', default=[], metavar='LETTER=TASK,...',
        help='run and judge a claim on these tasks only; may be given often')
    add('--reuse-settings', metavar='NAME=VALUE,...', help='thresholds of action reuse in the '
        f'claims; {", ".join(claims.THRESHOLDS)}')
    add('--sweep-reuse', action='store_true', help='a small run on seeds of its own that tells '
        'which --reuse-settings reuse about a third of the steps')
    add('--episodes', type=int, help=f'seeds per task; default {EPISODES}')
    add('--first-seed', type=int, help=f'default {plans.FIRST_SEED}')
    add('--quick', action='store_true', help='a small run: '
        + ', '.join(f'--{name} {value}'.replace('%', '%%') for name, value in QUICK.items()))
    add('--jobs', type=int, default=2, help='processes; default %(default)s')
    add('--ray', metavar='ADDRESS', help="run on a Ray cluster ('auto', 'host:port' or 'ray://...'"
        ', or local) with --jobs workers')
    add('--config', type=Path, help='parameter file (of the node, or flat)')
    add('--set', action='append', default=[], metavar='NAME=VALUE', help='one parameter for all '
        'methods; may be given often (backend, checkpoint, ...); execution_horizon is 1 here')
    add('--env', default='sim', help='simulator: sim, libero (see docs/libero.md), or '
        'module:attribute of your own')
    add('--warm-up', default='settle', choices=plans.WARM_UPS, help='; '.join(
        f'{name} = {text}' for name, text in plans.WARM_UPS.items()) + '; default %(default)s')
    add('--out', type=Path, metavar='DIR', help=f'default {OUT} (sweep: {OUT_SWEEP})')
    add('--resume', default='automatic', choices=RESUME, help='never = refuse a folder that holds '
        'episodes; default %(default)s')
    add('--report-only', action='store_true', help='report on the finished episodes, run nothing')
    add('--no-plots', action='store_true', help='only report.json and report.md')
    return parser


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Evaluate; returns the exit status.

    Raises:
        ConfigError: an argument or the journal cannot be used; no episode was run.
    """
    options = arguments().parse_args(argv)
    if not 1 <= options.jobs <= MOST_JOBS:
        raise ConfigError(f'--jobs is {options.jobs}; accepted: 1 to {MOST_JOBS}')
    if options.out is None:
        options.out = OUT_SWEEP if options.sweep_reuse else OUT
    parameters = load_parameters(options.config, options.set, BASE)
    work = make_work(options, parameters)
    if not options.no_plots:
        from vla_pruner_ros.evaluation.report.evaluation_plots import pyplot
        pyplot()  # better refused now than after hours
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
    return Inline(setup) if count == 1 else Processes(count, setup)


def report_on(work: Work, journals: Sequence[Journal], options: argparse.Namespace) -> None:
    """Write and print the results.

    Raises:
        ConfigError: no episode of the plan is finished.
    """
    results = Results([PolicyRun(one.name, one.plan, journal.rows)
                       for one, journal in zip(work.policies, journals)])
    if not results.finished:
        raise ConfigError(f'{places(journals)} has no episode of this plan to report on')
    report: Dict[str, Any] = {'tool': 'vla-pruner eval', **summarize(results),
                              'claims': claims.judge(results, work.claims)}
    files: List[Path] = reports.write(report, options.out, not options.no_plots)
    print(reports.summary(report))
    if options.sweep_reuse:
        print(sweep.suggestion(report['variants']))
    print('\n'.join(str(path) for path in files))


if __name__ == '__main__':
    sys.exit(main())
