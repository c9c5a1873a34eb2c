"""Ticks and the sweep: what beat asks for."""

import structlog

from aaos.bootstrap import container
from aaos.services.launch_pipeline import plan_pipeline
from workers import pipelines
from workers.app import app

log = structlog.get_logger()


@app.task(name="tick")
def tick(schedule: str) -> None:
    """Inserts the current slot's runs of a schedule and points workers at them."""
    c = container()
    pipelines.send_ticked(c, c.tick(schedule))


@app.task(name="launch_pipeline")
def launch_pipeline(run_id: int) -> None:
    """Sends the chord of a pipeline requested from a shell."""
    c = container()
    pipelines.launch(c, plan_pipeline(run_id, c.runs))


@app.task(name="recover_runs")
def recover_runs() -> None:
    """Recovers lost runs, then ticks what a lost tick left out."""
    c = container()
    c.recover()
    for schedule in c.settings.enabled_schedules:
        pipelines.send_ticked(c, c.tick(schedule, repair=True))


@app.task(name="score_votes")
def score_votes() -> None:
    """Finds out which votes were right, as far as their horizons are over."""
    container().score_votes()
