"""`target-meltano ci airflow`: a DAG with a task per tap, then the models, then their tests; for Airflow 2.10 and 3."""

from __future__ import annotations

import json
from pathlib import Path

from .project import Project

_DAG = '''\
"""The pipelines of elt.yml: all loads side by side, then the dbt models, then their tests.

A load that fails fails the run, and nothing is built on it. What it had loaded stays, with the STATE that
belongs to it, and the next try goes on from there; that is why it may be tried again. Airflow that ends a task
sends SIGTERM: what is complete is committed then.

Each worker needs `target-meltano` on its PATH, and the project's folder with what `target-meltano install` makes:
ELT_PROJECT, by default the folder above that of this file.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone

try:  # Airflow 3
    from airflow.providers.standard.operators.bash import BashOperator
    from airflow.sdk import DAG
except ImportError:  # Airflow 2.10
    from airflow import DAG
    from airflow.operators.bash import BashOperator

# Nothing is read or asked when Airflow parses this file, which it does every few seconds.
PROJECT = os.environ.get("ELT_PROJECT") or os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
TAPS = {taps}
NEEDS = {needs}
# A load that takes longer is ended; the next try, or the next run, goes on from its STATE.
LOAD = {{"retries": 2, "retry_delay": timedelta(minutes=5), "execution_timeout": timedelta(hours=6)}}


def step(task_id: str, command: str, **options: object) -> BashOperator:
    """Return the task that runs a command of target-meltano in the project's folder."""
    return BashOperator(task_id=task_id, bash_command=f"target-meltano {{command}}", cwd=PROJECT, do_xcom_push=False, **options)


with DAG(
    {name},
    schedule={schedule},  # in UTC
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,  # a load takes all that is new: runs that were missed have nothing to do
    max_active_runs=1,
    max_active_tasks={jobs},  # as many loads side by side as `jobs` in elt.yml says
    tags=["elt"],
    doc_md=f"{{__doc__}}\\n{{NEEDS}}",
) as dag:
    loads = [step(f"load_{{tap}}", f"extract-load {{tap}}", **LOAD) for tap in TAPS]
{transform}'''

_TRANSFORM = '''\
    # No trigger_rule: with "all_done" here, a run whose load has failed would count as a success.
    loads >> step("transform", "transform") >> step("test", "test")
'''


def files(project: Project) -> dict[Path, str]:
    """Return the DAG, by its path in the project. Names of taps are valid as ids of tasks, and in bash, as they are."""
    dag = _DAG.format(
        taps="".join(["[\n", *(f"    {_literal(tap)},\n" for tap in project.taps), "]"]),
        needs=_literal(_needs(project)),
        name=_literal(project.ci.name),
        schedule=_literal(project.ci.schedule),
        jobs=int(project.jobs),
        transform=_TRANSFORM if project.transform else "",
    )
    return {Path("dags", f"{project.ci.name}.py"): dag}


def _needs(project: Project) -> str:
    """Say which variables the tasks need, and which have a default."""
    names = [f"[{one.name}]" if one.is_optional else one.name for one in project.variables if not one.is_file]
    if not names:
        return "elt.yml refers to no variables."
    return f"Its environment has the variables that elt.yml refers to; those in brackets have a default: {', '.join(names)}."


def _literal(text: str) -> str:
    """Return *text* as Python reads it, in double quotes where JSON's are the same: of ASCII that is all of it."""
    return json.dumps(text) if text.isascii() else ascii(text)
