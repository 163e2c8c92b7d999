# SPDX-License-Identifier: Apache-2.0
"""The package's own exceptions: a user's mistake, a model's failure, a danger to the robot."""


class VlaPrunerError(Exception):
    """Base of all errors this package raises on purpose."""


class ConfigError(VlaPrunerError, ValueError):
    """A parameter, file or argument is unusable; the message names it and the accepted values."""


class OutputError(VlaPrunerError, OSError):
    """Results cannot be written; the message names the file and the reason."""


class InputError(VlaPrunerError, ValueError):
    """One message (image, joint state, instruction) cannot be used and is dropped."""

    def __init__(self, reason: str, message: str):
        """Keep a short machine-readable ``reason`` (counted in diagnostics) beside the message."""
        super().__init__(message)
        self.reason = reason


class BackendError(VlaPrunerError, RuntimeError):
    """A checkpoint does not fit, or a policy failed while computing."""


class AnswerError(BackendError):
    """The policy ran, but its answer to this input is no action; another input may do."""


class UnsafeActionError(VlaPrunerError, ValueError):
    """A computed action must not reach the robot (non-finite, wrong shape)."""


class MissingDependencyError(VlaPrunerError, ImportError):
    """An optional package is needed for what was asked; the message says how to install it."""
