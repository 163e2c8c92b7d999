# SPDX-License-Identifier: Apache-2.0
"""``vla-pruner eval``: success under pruning, in closed loop, with paired seeds."""
import argparse
from collections.abc import Sequence
from pathlib import Path

from vla_pruner_ros.evaluation.plan import episode_plan as plans
from vla_pruner_ros.evaluation.plan import published_claims as claims
from vla_pruner_ros.evaluation.plan.requested_work import BUDGETS, EPISODES, PRUNERS, QUICK
from vla_pruner_ros.evaluation.run_evaluation import OUT, OUT_SWEEP, run_evaluation
from vla_pruner_ros.evaluation.running.episode_journal import RESUME

DESCRIPTION = """Success under pruning, in closed loop, with paired seeds.

Every method runs the same episodes in simulation, with the control step of the ROS node, in lock
step.  Finished episodes are kept at once in episodes.jsonl: the same command continues a run that
was stopped, and a larger one extends it.  Results: report.json, report.md and plots.  With several
--checkpoint (training seeds) every policy runs the same plan, and the report pools them.
"""
ALL = ','.join(claims.KEYS)


def arguments() -> argparse.ArgumentParser:
    """Command line."""
    parser = argparse.ArgumentParser(prog='vla-pruner eval', description=DESCRIPTION,
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


def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate; returns the exit status."""
    return run_evaluation(arguments().parse_args(argv))
