"""Ticks and the sweep: what beat asks for."""

import structlog

from aaos.bootstrap import container
from aaos.services.launch_pipeline import plan_pipeline
from workers import pipelines
from workers.app import house_task

log = structlog.get_logger()


@house_task("tick")
def tick(schedule: str) -> None:
    """Inserts the current slot's runs of a schedule and points workers at them."""
    c = container()
    pipelines.send_ticked(c, c.tick(schedule))


@house_task("launch_pipeline")
def launch_pipeline(run_id: int) -> None:
    """Sends the chord of a pipeline requested from a shell."""
    c = container()
    pipelines.launch(c, plan_pipeline(run_id, c.runs))


@house_task("recover_runs")
def recover_runs() -> None:
    """Recovers lost runs, then ticks what a lost tick left out."""
    c = container()
    c.recover()
    for schedule in c.settings.enabled_schedules:
        pipelines.send_ticked(c, c.tick(schedule, repair=True))


@house_task("score_votes")
def score_votes() -> None:
    """Finds out which votes were right, as far as their horizons are over."""
    container().score_votes()


@house_task("score_vetoes")
def score_vetoes() -> None:
    """Finds out what became of refused trades, as far as their horizons are over."""
    container().score_vetoes()
