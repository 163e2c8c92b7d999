# SPDX-License-Identifier: Apache-2.0
"""Memory while a checkpoint is loaded: the weights as they are kept, never a second copy."""
from importlib.util import find_spec
import os
import subprocess
import sys

from openvla_checkpoint import Sizes, write_checkpoint
import pytest
import torch

pytestmark = pytest.mark.skipif(not sys.platform.startswith('linux'),
                                reason='anonymous memory is read as Linux tells it')
# 58.7 million weights in layers, 16.4 million in embeddings and output layer: 150 MB as stored.
SIZES = Sizes(llm_width=256, llm_inner=2048, llm_layers=32, vocab=32064)
STORED = 150 * 10**6
#: Beside the weights: the largest tensor (16 MB), rounding one layer (6 MB), the allocator's own.
ROOM = 45 * 10**6
LOAD = """
import sys, threading, time
from pathlib import Path
import torch
from vla_pruner_ros.backends.openvla import checkpoint_loading as checkpoint
from vla_pruner_ros.backends.openvla import weight_quantization as quantize
from vla_pruner_ros.core.parameter_declarations import Parameters

def anonymous():  # without the mapped files, which cost nothing that is not given back
    with open('/proc/self/status') as status:
        return next(int(line.split()[1]) for line in status if line.startswith('RssAnon:')) * 1024

def watch():
    while not done:
        seen.append(anonymous())
        time.sleep(0.001)

folder, kind, twice = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == 'twice'
found = checkpoint.read_checkpoint(folder)
model, _ = checkpoint.build(found, True, True)
if kind != 'none':  # imports are no part of the model
    quantize.WeightQuantizer(kind, model.shape.decoder, torch.device('cpu'), torch.bfloat16)
need = checkpoint.memory_need(model, torch.bfloat16, 1, quantization=kind).weights
before, seen, done = anonymous(), [], False
watcher = threading.Thread(target=watch)
watcher.start()
held = checkpoint.load_model(found, True, torch.device('cpu'), Parameters(quantization=kind))
if twice:
    copy = checkpoint.load_model(found, True, torch.device('cpu'), Parameters(quantization=kind))
done = True
watcher.join()
print(need, max(seen) - before)
"""


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    def rule(name, shape):
        return torch.empty(shape).uniform_(-0.1, 0.1)

    return write_checkpoint(tmp_path_factory.mktemp('c'), SIZES, rule, dtype=torch.bfloat16)


def loaded(folder, kind, copies='once'):
    """Bytes that the weights need, and the most that loading held."""
    # Every freed block of 64 KiB goes back to the system at once, else the allocator's habits are
    # measured.
    done = subprocess.run([sys.executable, '-c', LOAD, str(folder), kind, copies], text=True,
                          capture_output=True,
                          env={**os.environ, 'MALLOC_MMAP_THRESHOLD_': '65536'})
    assert done.returncode == 0, done.stderr[-2000:]
    return tuple(int(word) for word in done.stdout.split()[-2:])


@pytest.mark.parametrize('kind', ['none', 'int8', 'int4'])
def test_loading_holds_the_finished_weights_and_one_tensor_never_two_copies(folder, kind):
    if kind != 'none' and find_spec('torchao') is None:
        pytest.skip("torchao is not installed: pip install 'torchao>=0.18'")
    need, most = loaded(folder, kind)
    assert 0.8 * need < most < need + ROOM
    assert need + ROOM < (2 * need if kind == 'none' else STORED)  # the limit can tell


def test_two_copies_would_be_seen(folder):
    need, most = loaded(folder, 'none', 'twice')
    assert most > need + ROOM
