# SPDX-License-Identifier: Apache-2.0
"""Run the official OpenVLA code on the small model and keep what it answers.

See README.md in this folder for the environment and the command line.
"""
import argparse
import json
from pathlib import Path

import numpy as np
from parity import cases, official
from parity.frames import bridge_frames
import torch


def answer(model: torch.nn.Module, pixel_values: torch.Tensor, key: str) -> dict:
    """Visual tokens, logits of all seven steps, token ids and the un-normalised action."""
    ids = torch.tensor([cases.PROMPT])
    mask = torch.ones_like(ids)
    with torch.no_grad():
        visual = model.projector(model.vision_backbone(pixel_values))
        extended = torch.cat([ids, torch.tensor([[29871]])], dim=1)
        run = model.generate(extended, max_new_tokens=7, do_sample=False,
                             pixel_values=pixel_values, attention_mask=torch.ones_like(extended),
                             output_logits=True, return_dict_in_generate=True)
        action = model.predict_action(ids, unnorm_key=key, pixel_values=pixel_values,
                                      attention_mask=mask, do_sample=False)
    logits = torch.cat(run.logits)  # (7, vocabulary)
    two = logits.topk(2, dim=1).values
    return {'visual': visual[0].numpy(), 'action_logits': logits[:, 31744:32000].numpy(),
            'other_logits': logits[:, ::167].numpy(), 'tokens': run.sequences[0, -7:].numpy(),
            'margin': float((two[:, 0] - two[:, 1]).min()), 'action': np.asarray(action)}


def main() -> None:
    """Write one archive of arrays."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--source', type=Path, required=True, help='official OpenVLA repository')
    parser.add_argument('--bridge', type=Path, help='bridge_real_1.mp4, for the real frame')
    parser.add_argument('--tokenizer', type=Path, help='folder of the published tokenizer')
    parser.add_argument('--output', type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    official.declare_torchvision_operators()
    official.enter_packages(arguments.source, 'prismatic', 'prismatic.extern',
                            'prismatic.extern.hf')
    model, processor = official.openvla_model('sdpa'), official.image_processor()
    arrays = {}
    pictures = {f'formula{i}': cases.image(i, *size) for i, size in enumerate(cases.IMAGE_SIZES)}
    if arguments.bridge:
        pictures['bridge'] = bridge_frames(arguments.bridge, 1)[0]
    for name, picture in pictures.items():
        pixel_values = official.pixels(processor, picture)
        arrays[f'{name}/picture_digest'] = np.array(cases.digest(picture))
        arrays[f'{name}/pixels'] = pixel_values.flatten()[::997].numpy()
        arrays[f'{name}/pixels_digest'] = np.array(cases.digest(pixel_values.numpy()))
        found = answer(model, pixel_values, 'bridge_orig')
        print(name, found['tokens'], 'smallest margin', found['margin'], found['action'])
        keep_all = name in ('formula0', 'bridge')
        found['visual'] = found['visual'] if keep_all else found['visual'][::16]
        arrays.update({f'{name}/{key}': value for key, value in found.items()})
    if arguments.tokenizer:
        from transformers import AutoTokenizer
        tokenizer = AutoTokenizer.from_pretrained(arguments.tokenizer)
        for index, words in enumerate(cases.INSTRUCTIONS):
            prompt = f'In: What action should the robot take to {words.lower()}?\nOut:'
            arrays[f'prompt{index}'] = np.array(tokenizer(prompt)['input_ids'])
    shapes = {name: list(value.shape) for name, value in model.state_dict().items()}
    arguments.output.with_name('layout_openvla.json').write_text(json.dumps(shapes) + '\n')
    arrays['versions'] = np.array(json.dumps(official.versions(
        'torch', 'transformers', 'tokenizers', 'timm', 'torchvision', 'numpy', 'PIL')))
    np.savez_compressed(arguments.output, **arrays)
    print(arguments.output, arguments.output.stat().st_size, 'bytes')


if __name__ == '__main__':
    main()
