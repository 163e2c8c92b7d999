# SPDX-License-Identifier: Apache-2.0
"""What the files of a policy say without loading it."""
from openvla_checkpoint import Oft, Sizes, write_checkpoint
import pytest

from vla_pruner_ros import backends
from vla_pruner_ros.backends import load_backend
from vla_pruner_ros.backends import policy_outline as policy_outline_module
from vla_pruner_ros.backends.openvla import checkpoint_loading
from vla_pruner_ros.backends.pocket import pocket_files
from vla_pruner_ros.backends.pocket.pocket_files import load_pocket, save_pocket
from vla_pruner_ros.backends.policy_outline import policy_outline, PolicyOutline
from vla_pruner_ros.core.errors import BackendError, ConfigError
from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.robots.tasks import TABLETOP_TASKS


def of(folder, **changes):
    return Parameters().changed({'checkpoint': str(folder), **changes})


def test_a_shipped_policy_tells_its_tokens_and_its_tasks_without_being_loaded(monkeypatch):
    monkeypatch.setattr(pocket_files, 'load_safetensors', None)
    assert policy_outline(of('tabletop')) == PolicyOutline(14 * 14, tuple(TABLETOP_TASKS))


@pytest.mark.parametrize('backend, more', [('openvla', {}), ('openvla_oft', {'oft': Oft()})])
def test_a_checkpoint_tells_the_tokens_that_the_loaded_policy_has(tmp_path, monkeypatch, backend,
                                                                   more):
    folder = write_checkpoint(tmp_path, Sizes(), **more)
    options = {'backend': backend, 'policy_images': 2 if more else 1, 'control_rate': 5.0}
    loaded = load_backend(of(folder, **options))
    loaded.close()
    monkeypatch.setattr(checkpoint_loading, 'fill', None)  # a second load would fail
    assert policy_outline(of(folder, **options)) == PolicyOutline(loaded.spec.tokens_per_image)


def test_files_that_do_not_fit_are_refused_as_by_loading(tmp_path):
    with pytest.raises(ConfigError, match='not a directory'):
        policy_outline(of(tmp_path / 'nowhere'))
    model = load_pocket()
    save_pocket(tmp_path, model.config, {
        name: one for name, one in model.state_dict().items() if name != 'begin'})
    with pytest.raises(BackendError, match='missing: begin'):
        policy_outline(of(tmp_path))
    folder = write_checkpoint(tmp_path / 'oft', Sizes(), oft=Oft())
    with pytest.raises(ConfigError, match="set backend to 'openvla_oft'"):
        policy_outline(of(folder, backend='openvla'))


def test_a_family_whose_files_say_nothing_is_loaded_and_closed(monkeypatch):
    closed = []

    class Silent:
        spec = PolicyOutline(25)

        @classmethod
        def load(cls, checkpoint, device):
            return cls()

        def close(self):
            closed.append(self)

    for module in (backends, policy_outline_module):
        monkeypatch.setattr(module, 'backend_class', lambda name: Silent)
    assert policy_outline(of('')) == PolicyOutline(25) and len(closed) == 1
