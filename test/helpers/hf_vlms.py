# SPDX-License-Identifier: Apache-2.0
"""Tiny random vision-language models of ``transformers``, and generation with masked columns."""
from hf_models import own_decoder
import torch

from vla_pruner_ros.hf.layer_access import find_decoder

IMAGE = 63  # token id
TEXT = {'hidden_size': 32, 'intermediate_size': 48, 'num_hidden_layers': 4,
        'num_attention_heads': 4, 'num_key_value_heads': 2, 'vocab_size': 64,
        'max_position_embeddings': 256, 'pad_token_id': 0, 'bos_token_id': 1, 'eos_token_id': 2}
VISION = {'hidden_size': 16, 'intermediate_size': 16, 'num_hidden_layers': 2,
          'num_attention_heads': 2, 'image_size': 16, 'patch_size': 4}


def _llava(hf):
    config = hf.LlavaConfig(vision_config=hf.CLIPVisionConfig(**VISION),
                            text_config=hf.LlamaConfig(**TEXT), image_token_index=IMAGE,
                            image_seq_length=16, vision_feature_layer=-1)
    return hf.LlavaForConditionalGeneration(config), {'pixel_values': (1, 3, 16, 16)}, 16


def _smolvlm(hf):
    config = hf.SmolVLMConfig(vision_config=VISION, text_config=hf.LlamaConfig(**TEXT),
                              image_token_id=IMAGE, scale_factor=1)
    return hf.SmolVLMForConditionalGeneration(config), {'pixel_values': (1, 1, 3, 16, 16)}, 16


def _internvl(hf):
    vision = {**VISION, 'image_size': [16, 16], 'patch_size': [4, 4]}
    config = hf.InternVLConfig(vision_config=hf.InternVLVisionConfig(**vision),
                               text_config=hf.Qwen2Config(**TEXT), image_token_id=IMAGE,
                               image_seq_length=4)
    return hf.InternVLForConditionalGeneration(config), {'pixel_values': (1, 3, 16, 16)}, 4


def _paligemma(hf):
    config = hf.PaliGemmaConfig(
        vision_config=hf.SiglipVisionConfig(**VISION, projection_dim=32),
        text_config=hf.GemmaConfig(**TEXT, head_dim=8), image_token_index=IMAGE,
        projection_dim=32, hidden_size=32)
    return hf.PaliGemmaForConditionalGeneration(config), {'pixel_values': (1, 3, 16, 16)}, 16


def _qwen2_vl(hf):
    rope = {'type': 'mrope', 'rope_type': 'default', 'mrope_section': [1, 1, 2]}
    vision = {'depth': 2, 'embed_dim': 16, 'hidden_size': 32, 'num_heads': 2, 'mlp_ratio': 2,
              'patch_size': 4, 'spatial_merge_size': 2, 'temporal_patch_size': 2}
    config = hf.Qwen2VLConfig(text_config={**TEXT, 'rope_scaling': rope}, vision_config=vision,
                              image_token_id=IMAGE, vision_start_token_id=61,
                              vision_end_token_id=62, video_token_id=60)
    return hf.Qwen2VLForConditionalGeneration(config), {'pixel_values': (64, 96)}, 16


FAMILIES = {'Llava': _llava, 'SmolVLM': _smolvlm, 'InternVL': _internvl,
            'PaliGemma': _paligemma, 'Qwen2VL': _qwen2_vl}


def vision_language_model(family: str, dtype: torch.dtype = torch.float32,
                          attention: str = 'sdpa'):
    """Return a random model and what its processor would give: 3 words, an image, 3 words.

    In float64 the text decoder (Llama-like) is wide throughout.
    """
    import transformers
    torch.manual_seed(0)
    model, images, tokens = FAMILIES[family](transformers)
    model.set_attn_implementation(attention)
    for one in model.parameters():
        if one.dim() > 1:
            torch.nn.init.normal_(one, 0, 0.3)
    model = model.to(dtype).eval()
    if dtype == torch.float64:
        own_decoder(find_decoder(model), dtype)
    ids = torch.tensor([[1, 5, 6, *[IMAGE] * tokens, 7, 8, 9]])
    inputs = {'input_ids': ids, 'attention_mask': torch.ones_like(ids),
              **{name: torch.randn(shape, dtype=dtype) for name, shape in images.items()}}
    if family == 'Qwen2VL':
        inputs.update(image_grid_thw=torch.tensor([[1, 8, 8]]),
                      mm_token_type_ids=(ids == IMAGE).int())
    if family == 'PaliGemma':
        inputs['token_type_ids'] = torch.zeros_like(ids)
    return model, inputs


def generated_logits(model, inputs, tokens: int = 5):
    """Greedy generation over the cache; logits (tokens, 1, vocabulary)."""
    out = model.generate(**inputs, max_new_tokens=tokens, do_sample=False, eos_token_id=None,
                         output_logits=True, return_dict_in_generate=True)
    return torch.stack(out.logits)


class HiddenColumns:
    """Full-length reference for any stock model: prompt columns are masked from layer K on.

    Works for every pass over a cache; a dropped row that would see nothing sees itself, and no
    row that stays sees it.
    """

    def __init__(self, model, remaining, prompt, cut):
        self.gone = torch.ones(prompt, dtype=torch.bool)
        self.gone[remaining] = False
        self.layers = find_decoder(model).layers[cut:]

    def __enter__(self):
        self.handles = [one.register_forward_pre_hook(self._hide, with_kwargs=True)
                        for one in self.layers]

    def __exit__(self, *_error):
        for one in self.handles:
            one.remove()

    def _hide(self, layer, args, kwargs):
        count, cache = args[0].shape[1], kwargs['past_key_values']
        past = cache.get_seq_length(layer.self_attn.layer_idx)
        order = torch.arange(past + count)
        seen, given = order <= order[past:, None], kwargs.get('attention_mask')
        if given is not None:
            seen = given if given.dtype == torch.bool else given == 0
        gone = torch.zeros(past + count, dtype=torch.bool)
        gone[:len(self.gone)] = self.gone
        seen = seen & ~gone
        seen = seen | ((order == order[past:, None]) & ~seen.any(-1, keepdim=True))
        mask = torch.zeros(seen.shape, dtype=args[0].dtype)
        mask = mask.masked_fill(~seen, torch.finfo(mask.dtype).min)
        return args, {**kwargs, 'attention_mask': mask.reshape(1, 1, count, past + count)}
