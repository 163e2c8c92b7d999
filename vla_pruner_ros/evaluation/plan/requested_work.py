# SPDX-License-Identifier: Apache-2.0
"""What ``vla-pruner eval`` was asked for: plans, one per policy, and the claims to judge."""
import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vla_pruner_ros.backends.policy_outline import policy_outline
from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.evaluation.environments.environment_interface import environment_class
from vla_pruner_ros.evaluation.plan import episode_plan as plans
from vla_pruner_ros.evaluation.plan import published_claims as claims
from vla_pruner_ros.evaluation.plan import reuse_sweep as sweep
from vla_pruner_ros.evaluation.plan.episode_plan import Plan
from vla_pruner_ros.evaluation.plan.method_variants import (
    cross,
    parse_budget,
    parse_method,
    Variant,
)
from vla_pruner_ros.evaluation.plan.published_claims import Claim
from vla_pruner_ros.evaluation.running.episode_journal import policy_folder

PRUNERS = 'vla_pruner,fastv,sparsevlm,divprune,random,uniform'
BUDGETS = 'all,50%,25%,12.5%,6.25%'
EPISODES = 50
QUICK = {'pruners': 'vla_pruner,random', 'budgets': 'all,25%,12.5%', 'episodes': 8}
#: What the sweep fills in where nothing was given.
SWEEP = {'pruners': ','.join(sweep.METHODS), 'budgets': sweep.BUDGET, 'episodes': 5}


@dataclass(frozen=True)
class Policy:
    """One policy of an evaluation.

    Attributes:
        name: short and unique.
        plan: its episodes.
        folder: of its journal.
    """

    name: str
    plan: Plan
    folder: Path


@dataclass(frozen=True)
class Work:
    """Everything that was asked for.

    Attributes:
        policies: at least one; their plans differ in the policy only.
        claims: to judge.
    """

    policies: tuple[Policy, ...]
    claims: tuple[Claim, ...]


def make_work(options: argparse.Namespace, parameters: Parameters) -> Work:
    """What the command line asks for.

    Raises:
        ConfigError: an argument is unusable, or a policy's files cannot be used or do not fit.
    """
    for name, value in {**(QUICK if options.quick else {}),
                        **(SWEEP if options.sweep_reuse else {})}.items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    environment = environment_class(options.env)
    # Before the policies, because one may have to be downloaded.
    named = environment.expand(words(options.tasks)) if options.tasks else ()
    outlines = [policy_outline(one) for one in each_policy(options, parameters)]
    tokens, known = outlines[0].tokens_per_image, outlines[0].tasks
    if any(one.tokens_per_image != tokens for one in outlines):
        counts = ', '.join(str(one.tokens_per_image) for one in outlines)
        raise ConfigError('the policies have different numbers of visual tokens per image '
                          f'({counts}); evaluate them apart')
    if not options.tasks and any(set(one.tasks) != set(known) for one in outlines):
        raise ConfigError('the policies were trained on different tasks; name those to run with '
                          '--tasks')
    if not options.tasks and not known:
        raise ConfigError('the policy does not say which tasks it knows; name them with --tasks')
    tasks = named or environment.expand(known)
    versions = {**plans.versions(), **environment.versions()}
    first = options.first_seed
    if first is None:
        first = sweep.FIRST_SEED if options.sweep_reuse else plans.FIRST_SEED
    seeds = plans.seeds(EPISODES if options.episodes is None else options.episodes, first)
    moving = [task for task in tasks if environment.moving_target(task)]
    judged = claims.choose(
        tasks, moving, words(options.claims) if options.claims else claims.KEYS,
        options.reuse_settings or '', claim_tasks(options.claim_tasks))
    variants, only = choose_variants(options, parameters, tokens, judged, tasks)
    policies = [
        Plan(options.env, tasks, seeds, variants, one, tokens, checkpoint_digest(one),
             options.warm_up, versions, only) for one in each_policy(options, parameters)]
    if len({one.checkpoint_digest for one in policies}) < len(policies):
        raise ConfigError('--checkpoint names the same policy twice; accepted: different ones')
    names = short_names([one.parameters.checkpoint for one in policies])
    return Work(tuple(Policy(name, one, policy_folder(options.out, one) if len(policies) > 1
                             else options.out) for name, one in zip(names, policies)), judged)


def each_policy(options: argparse.Namespace, parameters: Parameters) -> list[Parameters]:
    """The run's parameters with every ``--checkpoint``, or as they are."""
    return [parameters.changed({'checkpoint': one}) for one in options.checkpoint] or [parameters]


def short_names(checkpoints: Sequence[str]) -> list[str]:
    """Last parts of the paths, as many as tell them apart; no more of a path than needed."""
    parts = [Path(one or 'shipped').parts for one in checkpoints]
    for count in range(1, max(map(len, parts)) + 1):
        names = ['/'.join(one[-count:]) for one in parts]
        if len(set(names)) == len(names):
            break
    return names


def choose_variants(options: argparse.Namespace, parameters: Parameters, tokens: int,
                    judged: Sequence[Claim], tasks: Sequence[str]
                    ) -> tuple[tuple[Variant, ...], dict[str, tuple[str, ...]]]:
    """Methods x budgets, and what the claims need: variants, and label -> tasks of some.

    Raises:
        ConfigError: an unknown method or budget, or a variant that does not fit.
    """
    found: dict[Variant, Any] = {}
    if options.claims is not None:
        found = dict(claims.variants(judged, parameters, tokens, tasks))
    if options.claims is None or options.pruners or options.budgets:
        methods = [parse_method(one, parameters) for one in words(options.pruners or PRUNERS)]
        found.update(dict.fromkeys(cross(methods, [
            parse_budget(one, tokens) for one in words(options.budgets or BUDGETS)])))
    only = {one.label: where for one, where in found.items() if where is not None}
    chosen = tuple(one for one in found if only.get(one.label) != ())
    for one in chosen:
        one.apply(parameters)
    return chosen, {label: where for label, where in only.items() if where}


def claim_tasks(texts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """``['b=task,task', ...]`` -> letter -> tasks.

    Raises:
        ConfigError: another form.
    """
    found = {}
    for text in texts:
        key, equals, names = text.partition('=')
        if not equals:
            raise ConfigError(f"--claim-tasks {text!r}; accepted: 'LETTER=TASK,TASK...'")
        found[key.strip()] = words(names)
    return found


def words(text: str) -> tuple[str, ...]:
    """Comma-separated words, each once, in their order.

    Raises:
        ConfigError: there is none.
    """
    found = tuple(dict.fromkeys(one.strip() for one in text.split(',') if one.strip()))
    if not found:
        raise ConfigError(f'{text!r} names nothing; accepted: comma-separated names')
    return found


def checkpoint_digest(parameters: Parameters) -> str:
    """Of the files of the policy; of a repository id, its name and revision."""
    if parameters.backend == 'pocket':
        from vla_pruner_ros.backends.shipped_policies import checkpoint_folder
        # Shipped policies may lie below one another.
        return plans.files_digest(checkpoint_folder(parameters.checkpoint), subfolders=False)
    folder = Path(parameters.checkpoint).expanduser()
    if parameters.checkpoint and folder.is_dir():
        return plans.files_digest(folder)
    return f'{parameters.checkpoint}@{parameters.revision}'
