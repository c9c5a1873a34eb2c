"""Result streams in Redis: `aaos:results:{kind}`, one entry per result, read by bridges and dashboards."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from redis import Redis
from redis.exceptions import RedisError
from redis.typing import EncodableT

from aaos.errors import BrokerUnavailable
from aaos.ports import ResultRecord

STREAM_PREFIX = "aaos:results:"


class RedisResultStream:
    """Implements `ports.ResultStream`; one round trip per batch."""

    def __init__(self, redis: Redis, maxlen: int) -> None:
        self._redis = redis
        self._maxlen = maxlen

    def publish(self, results: Sequence[ResultRecord]) -> Mapping[int, str]:
        """See the port."""
        try:
            with self._redis.pipeline(transaction=False) as pipeline:
                for result in results:
                    pipeline.xadd(STREAM_PREFIX + result.kind, entry(result), maxlen=self._maxlen, approximate=True)
                ids = pipeline.execute()
        except RedisError as error:
            raise BrokerUnavailable(f"Redis is not available ({error}); results wait in the outbox") from error
        return {result.id: _text(stream_id) for result, stream_id in zip(results, ids, strict=True)}

    def length(self, kind: str) -> int:
        """Returns how many entries the stream of that kind holds."""
        try:
            return int(self._redis.xlen(STREAM_PREFIX + kind))
        except RedisError as error:
            raise BrokerUnavailable(f"Redis is not available ({error})") from error


def entry(result: ResultRecord) -> dict[EncodableT, EncodableT]:
    """Returns the stream entry: (slot, fence) orders results of a symbol, `result_id` de-duplicates them."""
    return {
        "result_id": result.id,
        "run_id": result.run_id,
        "kind": result.kind,
        "symbol": result.symbol,
        "slot": result.slot.isoformat(),
        "fence": result.fence,
        "analyzed_at": result.analyzed_at.isoformat(),
        "content_hash": result.content_hash,
        "body": json.dumps(result.body, sort_keys=True, separators=(",", ":")),
    }


def _text(stream_id: bytes | str) -> str:
    return stream_id.decode() if isinstance(stream_id, bytes) else stream_id
