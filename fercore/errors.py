"""The one family of errors that a user of the project is meant to read.

Each message is a single line that says what is wrong, where, and how to mend it. The command line prints it and exits
with code 2; the app shows it in place of a result. Anything else that escapes is a defect of ours.
"""

from __future__ import annotations


class FerError(ValueError):
    """Base class: bad input, told in one line."""


class ImageError(FerError):
    """A picture that cannot be read or must not be: what it is and why."""


class DataError(FerError):
    """A dataset that is missing, malformed or has nothing usable in it."""


class RunError(FerError):
    """A run folder that is incomplete, tampered with, or of another schema."""


class ConfigError(FerError):
    """An option or a configuration file with an unknown key or an impossible value."""
