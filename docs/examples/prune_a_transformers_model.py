# SPDX-License-Identifier: Apache-2.0
"""Prune visual tokens inside an unmodified ``transformers`` model.

Needs ``pip install 'transformers>=4.50,<6'``, but no download: the model is a Llava of toy size
with random weights.  With a real one only ``make_model`` changes (``from_pretrained``), and a
processor makes ``inputs``.
"""
import torch
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
)

from vla_pruner_ros.hf import VisualPruning

IMAGE_TOKEN, TOKENS = 99, 64  # id of the image token; visual tokens per image (8 x 8 patches)


def make_model() -> LlavaForConditionalGeneration:
    """Return a vision-language model of toy size, random weights."""
    torch.manual_seed(0)
    vision = CLIPVisionConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                              num_attention_heads=2, image_size=64, patch_size=8)
    text = LlamaConfig(hidden_size=64, intermediate_size=128, num_hidden_layers=8,
                       num_attention_heads=4, vocab_size=100, pad_token_id=0)
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=IMAGE_TOKEN,
                         image_seq_length=TOKENS, vision_feature_layer=-1)
    return LlavaForConditionalGeneration(config).eval()


def main() -> None:
    """Run six control steps; the method needs three of them to learn where the model looks."""
    model = make_model()
    prompt = torch.tensor([[1, *[IMAGE_TOKEN] * TOKENS, 5, 6, 7, 8]])
    pruning = VisualPruning(model, keep=16, method='vla_pruner')
    for number in range(6):
        inputs = {'input_ids': prompt, 'attention_mask': torch.ones_like(prompt),
                  'pixel_values': torch.randn(1, 3, 64, 64)}  # the camera of now
        with pruning.step(prompt) as step:
            answer = model.generate(**inputs, max_new_tokens=7, do_sample=False,
                                    eos_token_id=None)
        kept = step.kept[0]
        print(f'step {number}: {len(kept)} of {TOKENS} visual tokens'
              f'{" (" + step.unpruned_reason + ")" if step.unpruned_reason else ""}, '
              f'{len(step.rows)} rows in the cut layers, answer {answer[0, -7:].tolist()}')
    print(f'tokens that stayed in the last step: {kept.tolist()}')


if __name__ == '__main__':
    main()
