"""depends_on as chords: the header is what is still to be done, the body waits for all of it.

Nothing else builds canvases. A chord that gets lost costs time, not work: its runs are rows, and the sweeper
hints whatever is ready and was not reached.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from celery import Signature, chord

from aaos.adapters.celery.hints import mapped_errors
from aaos.bootstrap import Container
from aaos.domain.runs import ClaimedRun
from aaos.errors import BrokerUnavailable
from aaos.ports import Ended, PipelinePlan
from aaos.services.tick_schedule import Ticked
from workers.app import app

log = structlog.get_logger()

RunRef = tuple[int, str]


def send_ticked(c: Container, ticked: Ticked) -> None:
    """Sends what a tick brought about; what cannot be sent now is left to the sweeper."""
    for run_id, kind in ticked.hints:
        hint(c, run_id, kind)
    for plan in ticked.pipelines:
        launch(c, plan)


def launch(c: Container, plan: PipelinePlan) -> None:
    """Sends the chord of a pipeline; with nothing left to wait for, its body at once."""
    send_chord(c, plan.header, plan.body)


def continue_after(c: Container, run: ClaimedRun, ended: Ended) -> None:
    """Sends what the end of a run makes possible: what it started, its announcement, its votes, who waited for it."""
    for run_id, kind in ended.starts:
        hint(c, run_id, kind)
    if ended.result_id is not None and c.settings.kinds[run.kind].publish:
        c.hints.nudge_publisher()
    if run.dependent:
        _send_dependents(c, run, ended)


def _send_dependents(c: Container, run: ClaimedRun, ended: Ended) -> None:
    for run_id, kind, ready in c.runs.dependents(run.id):
        if ended.feeds:
            send_chord(c, ended.feeds, (run_id, kind))
        elif ready:
            hint(c, run_id, kind)


def send_chord(c: Container, header: Sequence[RunRef], body: RunRef) -> None:
    """Sends header and body as one chord."""
    if not header:
        hint(c, *body)
        return
    try:
        with mapped_errors():
            chord([_signature(*each) for each in header], _signature(*body)).apply_async()
    except BrokerUnavailable as error:
        log.warning("chord_not_sent", body=body[0], why=str(error))


def hint(c: Container, run_id: int, kind: str) -> None:
    """Points a worker at a run."""
    try:
        c.hints.hint(kind, run_id)
    except BrokerUnavailable as error:
        log.warning("hint_not_sent", run=run_id, kind=kind, why=str(error))


def _signature(run_id: int, kind: str) -> Signature:
    return app.signature(kind, args=(run_id,), queue=kind, immutable=True)
