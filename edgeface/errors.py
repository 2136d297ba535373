"""Every error edgeface raises on purpose. Leaves double as the matching builtin, so ``except ValueError`` works too.

EdgefaceError
├── SpecError (ValueError)               a model file without a valid spec, or with a newer one
├── ArtifactError (ValueError)           a model file that is corrupt or of the wrong kind
├── ImageError (ValueError)              an image that cannot be decoded or used
├── SourceError (OSError)                a source that cannot be opened or broke off
├── SinkError (OSError)                  an output that cannot be written
├── DataError (ValueError)               a data set, label file or fold that is missing or malformed
├── CalibrationError (ValueError)        a calibration set that is not what it says or not fit to calibrate with
├── ConfigError (ValueError)             a recipe or setting that is unknown or out of range
├── ExportError (RuntimeError)           an exported graph that does not answer like its source
├── ParityError (RuntimeError)           an artefact that loses more than its budget allows
├── BackendError (RuntimeError)          a runtime that cannot load or run an artefact
└── MissingDependencyError (ImportError) an optional package that a feature needs

Messages are one sentence: what, where, expected and found, what to do next; no trailing period, values in backticks.
Libraries raise; only the command line prints (``error: …`` on stderr, exit code 1).
"""

from __future__ import annotations


class EdgefaceError(Exception):
    """Root of all errors that are about the user's input or machine, not about a bug."""


class SpecError(EdgefaceError, ValueError):
    """A model file carries no spec, an invalid one, or one of a newer schema."""


class ArtifactError(EdgefaceError, ValueError):
    """A model file is missing, corrupt or of another kind than expected."""


class ImageError(EdgefaceError, ValueError):
    """An image is missing, cannot be decoded or has an unusable shape."""


class SourceError(EdgefaceError, OSError):
    """A source of frames cannot be opened or broke off."""


class SinkError(EdgefaceError, OSError):
    """An output cannot be written."""


class DataError(EdgefaceError, ValueError):
    """A data set, label file or fold is missing or malformed."""


class CalibrationError(EdgefaceError, ValueError):
    """A calibration set lacks files, has changed, overlaps with held-out data or belongs to other data."""


class ConfigError(EdgefaceError, ValueError):
    """A recipe or a setting is unknown or out of range."""


class ExportError(EdgefaceError, RuntimeError):
    """An exported graph does not answer like the program it came from."""


class ParityError(EdgefaceError, RuntimeError):
    """An artefact loses more against its reference than its budget allows."""


class BackendError(EdgefaceError, RuntimeError):
    """A runtime cannot load or run an artefact."""


class MissingDependencyError(EdgefaceError, ImportError):
    """An optional package is not installed; the message has the command that brings it (``common.install``)."""
