# SPDX-License-Identifier: Apache-2.0
"""The same evaluation on a Ray cluster of two nodes (both on this machine)."""
import os
import sys

from eval_fakes import drive, make_plan, row_of, WORKER
from paths import HELPERS
import pytest

ray = pytest.importorskip('ray')

from vla_pruner_ros.core.errors import BackendError, ConfigError  # noqa: E402
from vla_pruner_ros.evaluation.running import episode_scheduler as runner  # noqa: E402
from vla_pruner_ros.evaluation.running.episode_journal import Journal  # noqa: E402
from vla_pruner_ros.evaluation.running.ray_pool import RayActors  # noqa: E402

NODE = {'num_cpus': 1, 'object_store_memory': 100 * 2**20}
PLAN = make_plan(seeds=make_plan().seeds[:2])


@pytest.fixture(scope='module')
def cluster():
    from ray.cluster_utils import Cluster
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('PYTHONPATH', os.pathsep.join([str(HELPERS), *sys.path]))
        patch.setenv('RAY_USAGE_STATS_ENABLED', '0')
        made = Cluster(initialize_head=True, head_node_args={**NODE, 'include_dashboard': False})
        made.add_node(**NODE)
        made.wait_for_nodes()
        yield made
        made.shutdown()


def run(folder, address, setup):
    with Journal(folder, PLAN) as journal, RayActors(address, 2, setup, WORKER) as pool:
        assert len(ray.nodes()) == 2 and pool.lanes == 2
        runner.run(runner.missing(PLAN, journal), journal, pool)
        return journal.rows


def test_two_nodes_give_the_same_rows_and_continue_a_local_run(cluster, tmp_path):
    pids = tmp_path / 'pids'
    pids.mkdir()
    expected = {job.name: row_of(job) for job in PLAN.jobs()}
    # One CPU per node: two actors can only run on two nodes.
    assert run(tmp_path / 'a', cluster.address, {'pids': str(pids)}) == expected
    assert len(list(pids.iterdir())) == 2
    drive(tmp_path / 'b', {}, 0, make_plan(seeds=PLAN.seeds[:1]))
    assert run(tmp_path / 'b', cluster.address, {'fail': PLAN.jobs()[0].name}) == expected


def test_errors_and_deaths_on_a_node_are_named(cluster, tmp_path):
    job = PLAN.jobs()[4].name
    with pytest.raises(ConfigError, match='the fake was told to fail'):
        run(tmp_path, cluster.address, {'fail': job})
    with pytest.raises(BackendError, match='ZeroDivisionError in a worker'):
        run(tmp_path, cluster.address, {'bug': job})
    with pytest.raises(BackendError, match='Ray worker . ended'):
        run(tmp_path, cluster.address, {'die': job})


def test_a_cluster_that_is_not_there_is_refused_at_once():
    for address in ('127.0.0.1:1', 'ray://127.0.0.1:1'):
        with pytest.raises(ConfigError, match=f"no Ray cluster at '{address}'"):
            RayActors(address, 1, {}, WORKER)


def test_a_cluster_that_is_too_small_is_refused(cluster):
    with pytest.raises(ConfigError, match='has 2 CPUs.*got 3'):
        RayActors(cluster.address, 3, {}, WORKER)
    assert not ray.is_initialized()
