"""Sovereign from a script, and its ledger in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from aaos.adapters.memory.tables import CallRow, MemoryDatabase
from aaos.domain.runs import ClaimedRun, State
from aaos.domain.sovereign import ModelAnswer, ModelRequest
from aaos.errors import FenceLost, InvariantViolation

Line = str | Exception | Callable[[ModelRequest], str]


class ScriptedSovereign:
    """Implements `ports.Sovereign`: says the lines of its script one after another, then the last one for ever.

    A line is what the model says, an error to raise, or a function of the request that returns what it says.
    """

    def __init__(self, *script: Line) -> None:
        if not script:
            raise ValueError("a script needs at least one line")
        self._script = script
        self.asked: list[ModelRequest] = []

    def ask(self, request: ModelRequest) -> ModelAnswer:
        """See the port."""
        line = self._script[min(len(self.asked), len(self._script) - 1)]
        self.asked.append(request)
        if isinstance(line, Exception):
            raise line
        content = line(request) if callable(line) else line
        return ModelAnswer(
            model=request.model,
            content=content,
            tokens_in=len(request.user),
            tokens_out=len(content),
            latency_ms=1.0,
            finish_reason="stop",
            request_id=f"scripted-{len(self.asked)}",
        )


class MemorySovereignLedger:
    """Implements `ports.SovereignLedger`."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    def answered(self, run_id: int, request: ModelRequest) -> ModelAnswer | None:
        """See the port."""
        with self._database.transaction() as tables:
            found = (
                call.answer
                for call in tables.calls.values()
                if (call.run_id, call.prompt_hash, call.state) == (run_id, request.prompt_hash, "answered")
            )
            return next(found, None)

    def begin(self, run: ClaimedRun, request: ModelRequest) -> int:
        """See the port. Raises FenceLost when the run is no longer the caller's: then nothing may be asked."""
        with self._database.transaction() as tables:
            for call in list(tables.calls.values()):
                if call.run_id == run.id and call.state == "pending" and call.fence < run.fence:
                    tables.calls[call.id] = replace(call, state="abandoned")
            row = tables.runs.get(run.id)
            ours = row is not None and row.fence == run.fence and row.state is State.RUNNING
            if ours:
                call_id = self._database.next_id()
                tables.calls[call_id] = CallRow(call_id, run.id, run.fence, request.model, request.prompt_hash)
                return call_id
        raise FenceLost(f"run {run.id}: fence {run.fence} is no longer its latest; Sovereign was not asked")

    def settle(self, call_id: int, answer: ModelAnswer) -> None:
        """See the port. Raises FenceLost when the call was abandoned meanwhile."""
        with self._database.transaction() as tables:
            call = tables.calls[call_id]
            if call.state == "answered":  # a commit whose confirmation got lost: the same call, the same answer
                return
            if call.state != "pending":
                raise FenceLost(f"Sovereign call {call_id} was abandoned; its answer is not accepted")
            for other in tables.calls.values():
                if (other.run_id, other.prompt_hash, other.state) == (call.run_id, call.prompt_hash, "answered"):
                    raise InvariantViolation(f"run {call.run_id}: a second accepted answer to the same prompt")
            tables.calls[call_id] = replace(call, state="answered", answer=answer)

    def fail(self, call_id: int, code: str, message: str) -> None:
        """See the port."""
        with self._database.transaction() as tables:
            call = tables.calls[call_id]
            if call.state == "pending":
                tables.calls[call_id] = replace(call, state="failed", error_code=code, error_message=message)

    def calls(self, run_id: int) -> Sequence[Mapping[str, object]]:
        """Returns the calls made for a run, oldest first."""
        with self._database.transaction() as tables:
            return [
                {"id": call.id, "model": call.model, "state": call.state, "error_code": call.error_code}
                for call in tables.calls.values()
                if call.run_id == run_id
            ]
