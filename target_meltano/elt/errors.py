"""What goes wrong in a project, as one line each."""

from __future__ import annotations

from target_meltano import SettingsError, TargetError


class ProjectError(SettingsError):
    """The project's file is wrong; the message has a line per fault, each with file and line."""


class RunError(TargetError):
    """A tap, a target, dbt or an installation has failed."""
