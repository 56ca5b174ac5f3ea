"""GitHub Actions: a workflow for the default branch, and one for pull requests."""

from __future__ import annotations

import re
from pathlib import Path

from . import ci_template
from .project import Project
from .yaml_writer import block, inline

_SETUP = """\
      - uses: actions/checkout@v6
      # The environments that `target-meltano install` makes: made anew where elt.yml has changed.
      - uses: actions/cache@v5
        with:
          path: .elt/envs
          key: elt-${{ hashFiles('elt.yml') }}
      - run: @pip@"""
_UPLOAD = """\
      - uses: actions/upload-artifact@v6
        if: always()
        with:
          name: ${{ github.job }}
          path: @paths@
          include-hidden-files: true
          retention-days: 30"""
_TAKEN = ("TAP", "BRANCH")  # variables that jobs give themselves


def files(project: Project) -> dict[Path, str]:
    """Return the workflows; that for pull requests is empty where there is nothing to build.

    Raises:
        ProjectError: the warehouse cannot be reached from where jobs run, or a name in elt.yml would mean something else there.
    """
    ci_template.refuse_names(project, "github", _TAKEN)
    secrets = {one.name: f"${{{{ secrets.{one.name} || vars.{one.name} }}}}" for one in project.variables if not one.is_file}
    parts = {"setup": _SETUP, "upload": _UPLOAD, "thens": " -> transform -> test" if project.transform else ""}
    written = {
        "variables": ci_template.variables(project.variables),
        "env": block({"env": secrets} if secrets else {}, 4),
        "secrets": block(secrets, 6),
        "image": inline(re.sub(r"\$\{?(\w+)\}?", r"${{ vars.\1 }}", project.ci.image)),
        "pip": inline(f'python -m pip install --quiet "{ci_template.installed(project)}"'),
        "on_branch": inline(f"github.ref == 'refs/heads/{project.ci.branch}'"),
        "paths": inline("\n".join(ci_template.kept(project))),
    }
    names = {"elt.yml": "github.yml", "elt-review.yml": "github-review.yml"}
    return {Path(".github/workflows", path): ci_template.fill(name, project, parts, written) for path, name in names.items()}
