"""GitHub Actions: a workflow for the default branch, and one for pull requests."""

from __future__ import annotations

from pathlib import Path

from . import ci_template
from .project import Project

_SETUP = """\
      - uses: actions/checkout@v6
      # The environments that `target-meltano install` makes: made anew where elt.yml has changed.
      - uses: actions/cache@v5
        with:
          path: .elt/envs
          key: elt-${{ hashFiles('elt.yml') }}
      - run: python -m pip install --quiet @install@"""
_UPLOAD = """\
      - uses: actions/upload-artifact@v6
        if: always()
        with:
          name: ${{ github.job }}
          path: |
            elt-*.json
            .elt/logs
            @docs@
          include-hidden-files: true
          retention-days: 30"""


def files(project: Project) -> dict[Path, str]:
    """Return the workflows; that for pull requests is empty where there is nothing to build.

    Raises:
        ProjectError: the warehouse cannot be reached from where jobs run.
    """
    secrets = [f"      {one.name}: ${{{{ secrets.{one.name} || vars.{one.name} }}}}" for one in project.variables if not one.is_file]
    more = {
        "thens": " -> transform -> test" if project.transform else "",
        "variables": ci_template.variables(project.variables),
        "env": "\n".join(["    env:", *secrets] if secrets else []),
        "secrets": "\n".join(secrets),
        "setup": _SETUP,
        "upload": _UPLOAD,
    }
    names = {"elt.yml": "github.yml", "elt-review.yml": "github-review.yml"}
    return {Path(".github/workflows", path): ci_template.fill(name, project, more) for path, name in names.items()}
