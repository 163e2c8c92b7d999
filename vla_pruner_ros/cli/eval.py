"""``vla-pruner eval``: success under pruning, in closed loop, with paired seeds.

Every method runs the same episodes in simulation, with the control step of the ROS node, in lock
step.  Finished episodes are kept at once in ``episodes.jsonl``: the same command continues a run
that was stopped, and a larger one extends it.  Results: report.json, report.md and plots.
"""
import argparse
from pathlib import Path
import sys
import time
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from vla_pruner_ros.cli.config import load_parameters
from vla_pruner_ros.cli.progress import Progress
from vla_pruner_ros.core.errors import ConfigError, VlaPrunerError
from vla_pruner_ros.core.parameters import Parameters
from vla_pruner_ros.evaluation import claims, runner
from vla_pruner_ros.evaluation import plan as plans
from vla_pruner_ros.evaluation import report as reports
from vla_pruner_ros.evaluation.environments import environment_class
from vla_pruner_ros.evaluation.methods import cross, parse_budget, parse_method, Variant
from vla_pruner_ros.evaluation.plan import Plan
from vla_pruner_ros.evaluation.pools import Inline, MOST_JOBS, Pool, Processes
from vla_pruner_ros.evaluation.store import Journal, RESUME
from vla_pruner_ros.evaluation.summary import Results, summarize

PRUNERS = 'vla_pruner,fastv,sparsevlm,divprune,random,uniform'
BUDGETS = 'all,50%,25%,12.5%,6.25%'
#: One thread per process, because the processes fill the machine.  A new chunk at every control
#: step, because the simulator's episodes last only 4 to 125 of them.
BASE = Parameters(threads=1, execution_horizon=1)
QUICK = {'pruners': 'vla_pruner,random', 'budgets': 'all,25%,12.5%', 'episodes': 8}


def arguments() -> argparse.ArgumentParser:
    """Command line."""
    parser = argparse.ArgumentParser(prog='vla-pruner eval', description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add('--tasks', help='comma-separated; default: all that the policy was trained on')
    add('--pruners', help='comma-separated methods PRUNER[/NAME=VALUE...][+reuse], e.g. '
        f"'vla_pruner,vla_pruner/temporal_window=1,flashvla+reuse'; default {PRUNERS}")
    add('--budgets', help="visual tokens kept per image: 'all', shares like 25%% or numbers; "
        f'default {BUDGETS.replace("%", "%%")}')
    add('--claims', action='store_true', help='run exactly what the published claims compare')
    add('--episodes', type=int, help='seeds per task; default 50')
    add('--first-seed', type=int, default=plans.FIRST_SEED, help='default %(default)s')
    add('--quick', action='store_true', help='a small run: '
        + ', '.join(f'--{name} {value}'.replace('%', '%%') for name, value in QUICK.items()))
    add('--jobs', type=int, default=2, help='processes; default %(default)s')
    add('--ray', metavar='ADDRESS', help="run on a Ray cluster ('auto', 'host:port' or 'ray://...'"
        ', or local) with --jobs workers')
    add('--config', type=Path, help='parameter file (of the node, or flat)')
    add('--set', action='append', default=[], metavar='NAME=VALUE', help='one parameter for all '
        'methods; may be given often (backend, checkpoint, ...); execution_horizon is 1 here')
    add('--env', default='sim', help='simulator: sim, or module:attribute of your own')
    add('--warm-up', default='settle', choices=plans.WARM_UPS, help='; '.join(
        f'{name} = {text}' for name, text in plans.WARM_UPS.items()) + '; default %(default)s')
    add('--out', type=Path, default=Path('out/eval'), metavar='DIR', help='default %(default)s')
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
    parameters = load_parameters(options.config, options.set, BASE)
    plan = make_plan(options, parameters)
    if not options.no_plots:
        from vla_pruner_ros.evaluation.plots import pyplot
        pyplot()  # better refused now than after hours
    with Journal(options.out, plan, options.resume) as journal:
        if not options.report_only:
            status = execute(plan, journal, options)
            if status:
                return status
        report_on(plan, journal, options)
    return 0


def make_plan(options: argparse.Namespace, parameters: Parameters) -> Plan:
    """What the command line asks for.

    Raises:
        ConfigError: an argument is unusable, or the policy cannot be loaded.
    """
    for name, value in QUICK.items() if options.quick else ():
        if getattr(options, name) is None:
            setattr(options, name, value)
    environment = environment_class(options.env)
    from vla_pruner_ros.backends import load_backend
    backend = load_backend(parameters)
    tokens = backend.spec.tokens_per_image
    tasks = words(options.tasks) if options.tasks else trained_tasks(backend)
    backend.close()
    environment.check(list(tasks))
    seeds = plans.seeds(50 if options.episodes is None else options.episodes, options.first_seed)
    return Plan(options.env, tasks, seeds, choose_variants(options, parameters, tokens),
                parameters, tokens, checkpoint_digest(parameters), options.warm_up)


def choose_variants(options: argparse.Namespace, parameters: Parameters,
                    tokens: int) -> Tuple[Variant, ...]:
    """Methods x budgets, and what the claims need.

    Raises:
        ConfigError: an unknown method or budget, or a variant that does not fit.
    """
    chosen: Tuple[Variant, ...] = ()
    if not options.claims or options.pruners or options.budgets:
        methods = [parse_method(one, parameters) for one in words(options.pruners or PRUNERS)]
        chosen = cross(methods, [parse_budget(one, tokens)
                                 for one in words(options.budgets or BUDGETS)])
    if options.claims:
        chosen = tuple(dict.fromkeys((*claims.variants(parameters, tokens), *chosen)))
    for one in chosen:
        one.apply(parameters)
    return chosen


def words(text: str) -> Tuple[str, ...]:
    """Comma-separated words, each once, in their order.

    Raises:
        ConfigError: there is none.
    """
    found = tuple(dict.fromkeys(one.strip() for one in text.split(',') if one.strip()))
    if not found:
        raise ConfigError(f'{text!r} names nothing; accepted: comma-separated names')
    return found


def trained_tasks(backend: Any) -> Tuple[str, ...]:
    """Tasks that the policy's own configuration names.

    Raises:
        ConfigError: it names none.
    """
    config = getattr(getattr(backend, 'model', None), 'config', None)
    tasks = tuple(getattr(config, 'instructions', ()))
    if not tasks:
        raise ConfigError(f'policy {backend.spec.name!r} does not say which tasks it knows; name '
                          'them with --tasks')
    return tasks


def checkpoint_digest(parameters: Parameters) -> str:
    """Of the files of the policy; of a repository id, its name and revision."""
    if not parameters.checkpoint and parameters.backend == 'pocket':
        from vla_pruner_ros.backends.pocket.backend import SHIPPED
        return plans.files_digest(SHIPPED)
    folder = Path(parameters.checkpoint).expanduser()
    if parameters.checkpoint and folder.is_dir():
        return plans.files_digest(folder)
    return f'{parameters.checkpoint}@{parameters.revision}'


def execute(plan: Plan, journal: Journal, options: argparse.Namespace) -> int:
    """Run what is missing; returns the exit status."""
    units = runner.missing(plan, journal)
    total, lacking = len(plan.jobs()), sum(len(unit) for unit in units)
    if not lacking:
        return 0
    if lacking < total:
        print(f'{total - lacking} of {total} episodes are in {journal.path} already',
              file=sys.stderr)
    progress = Progress('eval', total)
    try:
        with make_pool(plan, options, lacking) as pool:
            runner.run(units, journal, pool, meter(progress, total, total - lacking))
    except KeyboardInterrupt:
        progress.end('interrupted')
        print(how_to_continue(plan, journal), file=sys.stderr)
        return 130
    except VlaPrunerError:
        progress.end('stopped')
        print(how_to_continue(plan, journal), file=sys.stderr)
        raise
    progress.end(f'{total} episodes')
    return 0


def how_to_continue(plan: Plan, journal: Journal) -> str:
    """What is kept, and what to do next."""
    done = sum(job.name in journal.rows for job in plan.jobs())
    return (f'{done} of {len(plan.jobs())} episodes are kept in {journal.path}; the same command '
            'continues there (with --report-only it reports on them)')


def make_pool(plan: Plan, options: argparse.Namespace, jobs: int) -> Pool:
    """Where to run."""
    from vla_pruner_ros.evaluation.worker import WorkerSetup
    setup = WorkerSetup(plan.environment, plan.parameters, plan.warm_up)
    count = min(options.jobs, jobs)
    if options.ray is not None:
        from vla_pruner_ros.evaluation.ray_pool import RayActors
        return RayActors(options.ray, count, setup)
    return Inline(setup) if count == 1 else Processes(count, setup)


def meter(progress: Progress, total: int, before: int) -> Callable[[Dict[str, Any]], None]:
    """Callback per finished episode: share done, time left.

    Counted from the first episode on, because before it processes start and robots are built.
    """
    begin, done = 0.0, 0

    def on_row(row: Dict[str, Any]) -> None:
        nonlocal begin, done
        begin = begin or time.monotonic()
        done += 1
        note = f'{before + done}/{total} episodes'
        if done > 1:
            left = (time.monotonic() - begin) / (done - 1) * (total - before - done)
            note += f', {duration(left)} left'
        progress.show(before + done, note)
    return on_row


def duration(seconds: float) -> str:
    """``95`` -> ``1 min 35 s``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (f'{hours} h {minutes} min' if hours else f'{minutes} min {rest} s' if minutes
            else f'{rest} s')


def report_on(plan: Plan, journal: Journal, options: argparse.Namespace) -> None:
    """Write and print the results.

    Raises:
        ConfigError: no episode of the plan is finished.
    """
    results = Results(plan, journal.rows)
    if not results.finished:
        raise ConfigError(f'{journal.path} has no episode of this plan to report on')
    environment = environment_class(plan.environment)
    moving: List[str] = [task for task in plan.tasks if environment.moving_target(task)]
    report = {'tool': 'vla-pruner eval', **summarize(results),
              'claims': claims.judge(results, moving)}
    files = reports.write(report, options.out, not options.no_plots)
    print(reports.summary(report))
    print('\n'.join(str(path) for path in files))


if __name__ == '__main__':
    sys.exit(main())
