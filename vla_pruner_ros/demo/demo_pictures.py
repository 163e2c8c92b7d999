# SPDX-License-Identifier: Apache-2.0
"""Pictures of a demo: film strips of what the policy saw, and one summary plot (PNG)."""
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from vla_pruner_ros.demo.demo_report import Row
from vla_pruner_ros.runtime.headless_pyplot import pyplot, save

COLUMNS = 6  # frames per film strip
WIDE, WIDE_COLUMNS = 1.5, 5  # pictures of several cameras: width over height from here on, frames


def spread(count: int, wanted: int) -> list[int]:
    """Up to ``wanted`` indices of ``count`` things, first and last included."""
    if count <= wanted:
        return list(range(count))
    return [round(index * (count - 1) / (wanted - 1)) for index in range(wanted)]


def film_strip(path: Path, task: str, instruction: str,
               strips: Mapping[str, Sequence[tuple[float, np.ndarray]]],
               cameras: Sequence[str] = ()) -> None:
    """One row per setting: frames with their dropped tokens dimmed.

    Args:
        path: PNG to write.
        task: name, for the title.
        instruction: as given to the policy.
        strips: label -> (seconds since the first frame, RGB (H, W, 3) uint8).
        cameras: names of the cameras whose images stand side by side in a frame.
    """
    plt = pyplot()
    ratio = max((picture.shape[1] / picture.shape[0] for frames in strips.values()
                 for _, picture in frames[:1]), default=1.0)
    columns, width = (COLUMNS, 1.9) if ratio < WIDE else (WIDE_COLUMNS, 3.2)
    figure, axes = plt.subplots(len(strips), columns, squeeze=False, layout='constrained',
                                figsize=(width * columns,
                                         (width / ratio + 0.15) * len(strips) + 0.5))
    for line, (label, frames) in zip(axes, strips.items()):
        for axis in line:
            axis.set_xticks([])
            axis.set_yticks([])
            for side in axis.spines.values():
                side.set_visible(False)
        line[0].set_ylabel(f'keep {label}', fontsize=10)
        for axis, index in zip(line, spread(len(frames), columns)):
            seconds, picture = frames[index]
            axis.imshow(picture)
            axis.set_title(f'{seconds:.1f} s', fontsize=8, pad=2)
    views = f'{" | ".join(cameras)}; ' if len(cameras) > 1 else ''
    figure.suptitle(f'{task}: "{instruction}"   ({views}dropped tokens are grey)', fontsize=11)
    save(figure, path)


def summary(path: Path, lines: Sequence[Row]) -> None:
    """Success per task and milliseconds per stage, by setting."""
    plt = pyplot()
    tasks = list(dict.fromkeys(row.task for row in lines if row.task != 'all tasks'))
    blocks = list(dict.fromkeys(row.block for row in lines))
    cells: dict[tuple[str, str], Row] = {(row.task, row.block): row for row in lines}
    over_all = 'all tasks' if len(tasks) > 1 else tasks[0]
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout='constrained')
    width = 0.8 / len(blocks)
    for number, block in enumerate(blocks):
        places = np.arange(len(tasks)) + (number - (len(blocks) - 1) / 2) * width
        shares = [100 * cells[task, block].solved / cells[task, block].episodes for task in tasks]
        bars = left.bar(places, shares, width * 0.92, label=block)
        left.bar_label(bars, [f'{cells[task, block].solved}/{cells[task, block].episodes}'
                              for task in tasks], fontsize=7)
    left.set_xticks(np.arange(len(tasks)), [task.removesuffix('-v3').replace('-', '\n')
                                            for task in tasks], fontsize=8)
    left.set_ylim(0, 108)
    left.set_ylabel('episodes solved (%)')
    left.legend(title='tokens kept', fontsize=8, title_fontsize=8, ncols=len(blocks),
                loc='lower center', bbox_to_anchor=(0.5, 1.0))
    bottom = np.zeros(len(blocks))
    for stage in ('preprocess', 'vision', 'decoder', 'head'):
        values = np.array([cells[over_all, block].stages_ms.get(stage, 0.0) for block in blocks])
        right.barh(blocks, values, left=bottom, label=stage)
        bottom += values
    for position, block in enumerate(blocks):
        row = cells[over_all, block]
        right.text(bottom[position], position, f' {row.rate_hz:.1f} policy steps/s, '
                   f'reuse {row.reuse_rate:.0%}', va='center', fontsize=8)
    right.set_xlim(0, max(bottom.max(), 1e-3) * 1.7)
    right.invert_yaxis()
    right.set_xlabel('median milliseconds per model run')
    right.legend(fontsize=8, ncols=4, loc='lower center', bbox_to_anchor=(0.5, 1.0))
    save(figure, path)
