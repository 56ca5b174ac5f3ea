"""Runs a workflow for GitHub Actions on this machine: its jobs by their needs, the steps of each in their order.

Of the actions it knows checkout only; a job starts in an empty folder.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from elt_ci import CiProject

Context = Mapping[str, Any]  # what expressions see: github, secrets, vars, matrix


@dataclass
class Run:
    """How a job with one matrix ended: success, failure or skipped; its folder, and what its steps told."""

    status: str
    folder: Path
    told: list[str] = field(default_factory=list)


def run(project: CiProject, workflow: str, places: Path, context: Context) -> dict[str, list[Run]]:
    """Run the jobs of a file in .github/workflows, each in a folder of its own in *places*."""
    content = yaml.safe_load((project.folder / ".github/workflows" / workflow).read_text())
    done: dict[str, list[Run]] = {}
    for name, job in content["jobs"].items():  # they stand in the order of their needs
        needs = [one for one in [job.get("needs")] if one]
        if any(run.status != "success" for need in needs for run in done[need]) or not value(job.get("if", "'yes'"), context):
            done[name] = [Run("skipped", places)]
            continue
        with ThreadPoolExecutor() as threads:
            futures = [threads.submit(_job, project, job, places / f"{name}-{number}", {**context, "matrix": matrix}) for number, matrix in enumerate(_matrices(job))]
            done[name] = [future.result() for future in futures]
    return done


def _matrices(job: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    ((name, values),) = job.get("strategy", {}).get("matrix", {"none": [""]}).items()
    yield from ({name: one} for one in values)


def _job(project: CiProject, job: Mapping[str, Any], folder: Path, context: Context) -> Run:
    made = Run("success", folder)
    folder.mkdir(parents=True)
    later = folder.parent / f"{folder.name}.env"
    later.touch()
    for step in job["steps"]:
        if step.get("uses", "").startswith("actions/checkout@"):
            ref = filled(step.get("with", {}).get("ref", "${{ github.sha }}"), context)
            project.must("git", "clone", "--quiet", str(project.folder), str(folder))
            project.must("git", "-C", str(folder), "checkout", "--quiet", ref)
        if "run" not in step:
            continue
        assert "${{" not in step["run"]
        env = {name: filled(text, context) for name, text in job.get("env", {}).items()}
        env |= dict(line.split("=", 1) for line in later.read_text().splitlines())
        ended: subprocess.CompletedProcess[str] = project.command(["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]], folder, **env, GITHUB_ENV=str(later))
        made.told.append(f"$ {step['run']}\n{ended.stdout}{ended.stderr}")
        if ended.returncode:
            made.status = "failure"
            break
    return made


def filled(text: Any, context: Context) -> str:
    """Return *text* with the values of its expressions."""
    return re.sub(r"\$\{\{ (.*?) \}\}", lambda found: str(value(found[1], context)), str(text))


def value(expression: str, context: Context) -> Any:
    """Return what an expression of ==, !=, && and || comes to; what is not there is empty."""

    def look_up(found: re.Match[str]) -> str:
        if found[1]:
            return found[0]
        at: Any = context
        for part in found[0].split("."):
            at = at.get(part, "") if isinstance(at, Mapping) else ""
        return repr(at)

    python = re.sub(r"('[^']*')|[a-z]\w*(?:\.\w+)+", look_up, expression.replace("&&", "and").replace("||", "or"))
    return eval(python)
