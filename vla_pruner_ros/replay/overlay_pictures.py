# SPDX-License-Identifier: Apache-2.0
"""Pictures of kept tokens: a contact sheet (PNG) and a video (mp4) of one replay run."""
from collections.abc import Sequence
from pathlib import Path
import textwrap
from typing import Any

import numpy as np

from vla_pruner_ros.core.errors import MissingDependencyError
from vla_pruner_ros.core.install_hints import how_to_install
from vla_pruner_ros.core.types import PolicySpec, StepStats
from vla_pruner_ros.runtime.output_files import written_aside
from vla_pruner_ros.runtime.token_overlay import draw_overlay, side_by_side

HEIGHT = 240  # pixels of a camera picture in the sheet and the video
BAR = 64  # pixels of text below
COLUMNS = 4


def opencv() -> Any:
    """OpenCV.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        import cv2
    except ImportError as error:
        raise MissingDependencyError('pictures need OpenCV (or leave them out with '
                                     f'--no-pictures): {how_to_install("cv2")}') from error
    return cv2


class OverlayRecorder:
    """Collects captioned overlays of a run.

    Args:
        spec: camera order and token grid.
        video: file to write; the video is left out where OpenCV has no encoder.
        rate: frames per second of the video.
        chosen: numbers of the steps that go into the contact sheet.

    Raises:
        MissingDependencyError: OpenCV is not installed.
    """

    def __init__(self, spec: PolicySpec, video: Path, rate: float, chosen: Sequence[int]):
        self._cv2 = opencv()
        self._spec = spec
        self._path = video
        self._rate = rate
        self._chosen = set(chosen)
        self._writer: Any = None
        self._shape: Any = None
        self._frames = 0
        self._kept: Sequence[np.ndarray] | None = None
        self.sheet: list[np.ndarray] = []
        self.video_problem = ''

    def add(self, images: 'dict[str, np.ndarray]', stats: StepStats, instruction: str) -> None:
        """Draw one step; a reused step shows the tokens of the model run before it."""
        kept = stats.kept or self._kept
        self._kept = kept
        pictures = []
        for index, camera in enumerate(self._spec.cameras):
            image = self._resized(images[camera.role])
            pictures.append(image if kept is None else draw_overlay(
                image, kept[index].tolist(), self._spec.grid_rows, self._spec.grid_cols))
        share = '' if kept is None else (f'{sum(len(one) for one in kept)} of '
                                         f'{stats.tokens_per_image * len(kept)} tokens')
        state = 'reused' if stats.reused else stats.pruner
        if stats.unpruned_reason and not stats.reused:
            state = 'unpruned' + {'warm_up': ' (warm-up)', 'refresh': ' (refresh)'}.get(
                stats.unpruned_reason, '')
        frame = self._captioned(side_by_side(pictures),
                                f'step {self._frames + 1}: {state}', share, instruction)
        if self._frames in self._chosen:
            self.sheet.append(frame)
        self._frames += 1
        self._write(frame)

    def close(self, sheet: Path) -> list[Path]:
        """Write the contact sheet, finish the video; returns the files made.

        Raises:
            OutputError: the sheet cannot be written.
        """
        made = []
        if self._writer is not None:
            self._writer.release()
            if self._path.exists() and self._path.stat().st_size:
                made.append(self._path)
        if self.sheet:
            with written_aside(sheet) as aside:
                if not self._cv2.imwrite(str(aside), grid(self.sheet)[..., ::-1]):
                    raise OSError('OpenCV could not write it (is the disk full?)')
            made.append(sheet)
        return made

    def _resized(self, image: np.ndarray) -> np.ndarray:
        width = max(2, round(image.shape[1] * HEIGHT / image.shape[0] / 2) * 2)
        return np.asarray(self._cv2.resize(image, (width, HEIGHT),
                                           interpolation=self._cv2.INTER_AREA
                                           if image.shape[0] > HEIGHT else
                                           self._cv2.INTER_CUBIC))

    def _captioned(self, image: np.ndarray, *lines: str) -> np.ndarray:
        bar = np.full((BAR, image.shape[1], 3), 24, np.uint8)
        width = max(8, image.shape[1] // 7)
        for number, line in enumerate(lines):
            text = textwrap.shorten(line, width, placeholder='...')
            self._cv2.putText(bar, text, (6, 16 + 20 * number), self._cv2.FONT_HERSHEY_SIMPLEX,
                              0.42, (235, 235, 235), 1, self._cv2.LINE_AA)
        return np.ascontiguousarray(np.vstack([image, bar]))

    def _write(self, frame: np.ndarray) -> None:
        if self.video_problem:
            return
        if self._writer is None:
            self._shape = frame.shape
            writer = self._cv2.VideoWriter(str(self._path), self._cv2.VideoWriter.fourcc(*'mp4v'),
                                           self._rate, (frame.shape[1], frame.shape[0]))
            if not writer.isOpened():
                self.video_problem = 'this OpenCV has no mp4 encoder'
                return
            self._writer = writer
        if frame.shape == self._shape:  # a camera that changed its shape would corrupt the file
            self._writer.write(np.ascontiguousarray(frame[..., ::-1]))


def grid(frames: Sequence[np.ndarray]) -> np.ndarray:
    """Frames in rows of ``COLUMNS``, on black."""
    height = max(one.shape[0] for one in frames)
    width = max(one.shape[1] for one in frames)
    columns = min(COLUMNS, len(frames))
    rows = -(-len(frames) // columns)
    sheet = np.zeros((rows * height, columns * width, 3), np.uint8)
    for number, one in enumerate(frames):
        top, left = number // columns * height, number % columns * width
        sheet[top:top + one.shape[0], left:left + one.shape[1]] = one
    return sheet
