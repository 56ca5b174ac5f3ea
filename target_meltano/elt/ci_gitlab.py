"""GitLab CI: the template with all jobs, for this project and others, and the pipeline that includes it."""

from __future__ import annotations

from pathlib import Path

from . import ci_template
from .project import Project
from .review import KEEP
from .yaml_writer import inline

_TAKEN = ("TAP",)  # the variable that jobs give themselves


def files(project: Project) -> dict[Path, str]:
    """Return .gitlab-ci.yml, and templates/elt.yml, where GitLab looks for what other projects include.

    Raises:
        ProjectError: the warehouse cannot be reached from where jobs run, or a name in elt.yml would mean something else there.
    """
    ci_template.refuse_names(project, "gitlab", _TAKEN)
    steps = (("transform", "test"), ", transform, test, review") if project.transform else ((), "")
    parts = {"thens": "".join(f" -> elt:{name}" for name in steps[0]), "stages": steps[1]}
    written = {
        "keep": inline(_words(project.review.get("keep", KEEP))),
        "variables": ci_template.variables(project.variables),
        "image": inline(project.ci.image),  # GitLab expands $NAME there
        "install": inline(ci_template.installed(project)),
        "paths": inline(ci_template.kept(project)),
    }
    names = {".gitlab-ci.yml": "gitlab-ci.yml", "templates/elt.yml": "gitlab-jobs.yml"}
    return {Path(path): ci_template.fill(name, project, parts, written) for path, name in names.items()}


def _words(age: str) -> str:
    """Return a time as 14d or 12h in GitLab's words."""
    return f"{age[:-1]} {'days' if age.endswith('d') else 'hours'}"
