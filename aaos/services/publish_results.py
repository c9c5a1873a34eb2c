"""From the outbox to the streams: nothing is announced that is not stored, and all that is stored is announced."""

from __future__ import annotations

from aaos.ports import Outbox, ResultStream


def publish_results(outbox: Outbox, stream: ResultStream, batch: int) -> int:
    """Publishes until the outbox is empty; returns how many results were announced.

    A row is marked only after the stream accepted it. A crash in between announces it again: subscribers
    de-duplicate by result id.

    Raises:
        BrokerUnavailable: the stream is away; the results stay in the outbox.
    """
    published = 0
    while True:
        with outbox.batch(batch) as held:
            if held.results:
                held.mark_published(stream.publish(held.results))
            published += len(held.results)
            if len(held.results) < batch:
                return published
