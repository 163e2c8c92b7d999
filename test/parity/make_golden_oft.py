# SPDX-License-Identifier: Apache-2.0
"""Run the official OpenVLA-OFT code (and its transformers fork) on the small model.

Two images, joint state and the L1 head; the platform's constants come, as in that code, from the
word ``libero`` or ``aloha`` in the command line.  See README.md for the environment.
"""
import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
import importlib
import json
from pathlib import Path
import sys

import numpy as np
from parity import cases, official
from parity.excerpt import function_of
from parity.frames import bridge_frames
import torch

#: platform -> (images, chunk, action and state dimensions, data set)
PLATFORMS = {'libero': (2, 8, 7, 8, 'libero_spatial_no_noops'),
             'aloha': (3, 25, 14, 14, 'aloha_fold_shirt')}

#: Layer before which rows are dropped, and visual tokens that stay per image.
CUT_LAYER, CUT_BUDGET = 3, 64


@contextmanager
def cut(model: torch.nn.Module, images: int) -> Iterator[None]:
    """Drop visual rows inside the unmodified decoder while the block runs.

    Hooks in front of the layers hand on fewer rows with their original positions; which rows is a
    formula (``cases.kept``).  There is no published OFT code of VLA-Pruner, so the cut itself is
    all that can be compared.
    """
    visual = 1 + np.concatenate([256 * one + cases.kept(one, CUT_BUDGET) for one in range(images)])

    def before(index: int) -> Callable:
        def hook(module: torch.nn.Module, inputs: tuple, named: dict) -> tuple:
            if named['attention_mask'] is not None:
                raise SystemExit('the decoder got a mask; every row must see every other')
            behind = np.arange(1 + 256 * images, named['position_ids'].shape[1])
            rows = torch.from_numpy(np.concatenate([[0], visual, behind]))
            hidden = inputs[0][:, rows] if index == CUT_LAYER else inputs[0]
            return (hidden,), {**named, 'position_ids': rows[None],
                               'cache_position': torch.arange(len(rows))}
        return hook

    backbone, layers = model.vision_backbone, model.language_model.model.layers
    handles = [layer.register_forward_pre_hook(before(index), with_kwargs=True)
               for index, layer in enumerate(layers) if index >= CUT_LAYER]
    patches = backbone.get_num_patches
    backbone.get_num_patches = lambda: CUT_BUDGET  # where the official code looks for the actions
    try:
        yield
    finally:
        backbone.get_num_patches = patches
        for handle in handles:
            handle.remove()


def main() -> None:
    """Write one archive of arrays."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--source', type=Path, required=True,
                        help='official OpenVLA-OFT repository')
    parser.add_argument('--transformers', type=Path, required=True,
                        help='src folder of its transformers fork')
    parser.add_argument('--platform', choices=tuple(PLATFORMS), required=True)
    parser.add_argument('--bridge', type=Path, help='bridge_real_1.mp4, for real frames')
    parser.add_argument('--libero', type=Path,
                        help='folder of centre-cropped pictures (see make_golden_images.py), for '
                        'a real observation')
    parser.add_argument('--output', type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sys.path.insert(0, str(arguments.transformers))
    official.declare_torchvision_operators()
    official.enter_packages(
        arguments.source, 'prismatic', 'prismatic.extern', 'prismatic.extern.hf',
        'prismatic.models', 'prismatic.training', 'prismatic.vla')
    official.empty_module('diffusers.schedulers.scheduling_ddim', DDIMScheduler=None)
    images, chunk, dims, joints, key = PLATFORMS[arguments.platform]
    constants = importlib.import_module('prismatic.vla.constants')
    assert (constants.NUM_ACTIONS_CHUNK, constants.ACTION_DIM) == (chunk, dims)

    hidden = cases.DECODER['hidden_size']
    model = official.openvla_model('sdpa', dims, joints)
    model.vision_backbone.set_num_images_in_input(images)
    heads = importlib.import_module('prismatic.models.action_heads')
    head = official.fill(heads.L1RegressionActionHead(hidden, hidden, dims), 'action_head.')
    projectors = importlib.import_module('prismatic.models.projectors')
    projector = official.fill(projectors.ProprioProjector(hidden, joints), 'proprio_projector.')
    processor = official.image_processor()
    normalise = function_of(
        arguments.source / 'experiments' / 'robot' / 'openvla_utils.py', ['normalize_proprio'],
        np=np, NormalizationType=constants.NormalizationType,
        ACTION_PROPRIO_NORMALIZATION_TYPE=constants.ACTION_PROPRIO_NORMALIZATION_TYPE)[
            'normalize_proprio']

    observations = {f'formula{i}': ([cases.image(3 * i + j) for j in range(images)],
                                    cases.proprio(i, joints)) for i in range(3)}
    if arguments.bridge:
        observations['bridge'] = (bridge_frames(arguments.bridge, images),
                                  cases.proprio(0, joints))
    if arguments.libero:
        from PIL import Image
        pictures = [np.asarray(Image.open(arguments.libero / f'{name}.png'))
                    for name in ('full_image', 'wrist_image')]
        observations['libero'] = (pictures, np.load(arguments.libero / 'state.npy'))
    arrays, answers = {}, {}
    ids = torch.tensor([cases.PROMPT])
    for name, (pictures, state) in observations.items():
        pixel_values = torch.cat([official.pixels(processor, one) for one in pictures], dim=1)
        normalised = normalise(state, model.norm_stats[key]['proprio'])
        with torch.no_grad():
            visual = model.projector(model.vision_backbone(pixel_values))
            actions, states = model.predict_action(
                ids, unnorm_key=key, proprio=normalised, proprio_projector=projector,
                action_head=head, pixel_values=pixel_values, attention_mask=torch.ones_like(ids))
            alone, _ = model.predict_action(
                ids, unnorm_key=key, action_head=head, pixel_values=pixel_values,
                attention_mask=torch.ones_like(ids))
        print(name, actions.shape, actions[0], actions[-1])
        answers[name] = (pixel_values, normalised)
        arrays.update({
            f'{name}/visual': visual[0, ::16].numpy(), f'{name}/hidden': states[0, ::3].numpy(),
            f'{name}/actions': actions, f'{name}/actions_without_state': alone,
            f'{name}/state': state, f'{name}/state_normalised': normalised,
            f'{name}/pictures_digest': np.array([cases.digest(one) for one in pictures]),
            f'{name}/pixels_digest': np.array(cases.digest(pixel_values.numpy()))})
    for name, (pixel_values, normalised) in answers.items():
        with torch.no_grad(), cut(model, images):
            actions, _ = model.predict_action(
                ids, unnorm_key=key, proprio=normalised, proprio_projector=projector,
                action_head=head, pixel_values=pixel_values, attention_mask=torch.ones_like(ids))
        arrays[f'{name}/actions_cut'] = actions
    film = importlib.import_module('prismatic.models.film_vit_wrapper')
    model.vision_backbone = official.fill(
        film.FiLMedPrismaticVisionBackbone(model.vision_backbone, hidden), 'vision_backbone.')
    for name, (pixel_values, normalised) in answers.items():
        with torch.no_grad():
            actions, _ = model.predict_action(
                ids, unnorm_key=key, proprio=normalised, proprio_projector=projector,
                action_head=head, pixel_values=pixel_values, attention_mask=torch.ones_like(ids),
                use_film=True)
        arrays[f'{name}/actions_film'] = actions
    shapes = {f'{prefix}.{name}': list(value.shape)
              for prefix, module in (
                  ('action_head', head), ('proprio_projector', projector),
                  ('vision_backbone', model.vision_backbone))
              for name, value in module.state_dict().items()}
    layout = arguments.output.with_name(f'layout_oft_{arguments.platform}.json')
    layout.write_text(json.dumps(shapes) + '\n')
    arrays['versions'] = np.array(json.dumps(official.versions(
        'torch', 'transformers', 'tokenizers', 'timm', 'torchvision', 'numpy', 'PIL')))
    np.savez_compressed(arguments.output, **arrays)
    print(arguments.output, arguments.output.stat().st_size, 'bytes')


if __name__ == '__main__':
    main()
