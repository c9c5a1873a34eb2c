"""An explanation as a tree to be read: candles → indicators → regime → Sovereign's answers → adjustments → decision."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from aaos.shell.lists import HASH_SHOWN_CHARS, shortened
from aaos.shell.results import typed
from aaos.shell.runs import instant
from aaos.shell.story import arbitration_nodes, refusal_nodes, story_nodes
from aaos.shell.trees import Node, tree_lines

if TYPE_CHECKING:
    from aaos.ports import ResultRecord
    from aaos.services.explain_run import Explanation, Link
    from aaos.shell.story import Followed

REASONING_SHOWN_CHARS = 300
CONTEXT, TECHNICAL, REGIME = "trading_context", "technical_analysis", "regime_detection"
VOTE, DECISION = "trading_analysis", "trading_decision"
_MARKS = {"verified": "✓", "differs": "✗ DIFFERS", "missing": "✗ MISSING", "by hash only": "(kept as a hash)"}


@dataclass(frozen=True, slots=True, repr=False)
class Explained:
    """What a result rests on; prints as a tree, `data` holds it all."""

    data: Explanation
    review: str | None = None
    """Where a person's approval of it stands; None where none is needed."""
    trade: Followed | None = None
    """What became of a decision: risk, approval, orders, position, or the veto; None for what is no decision."""

    def lines(self, width: int | None = None) -> list[str]:
        """Returns the tree, line by line, long texts folded at `width` columns."""
        return tree_lines(as_tree(self.data, self.review, self.trade), width)

    def to_dict(self) -> dict[str, Any]:
        """Returns the JSON form."""
        told = {} if self.review is None else {"review": self.review}
        return self.data.to_dict() | told | ({} if self.trade is None else {"trade": self.trade.to_dict()})

    def __repr__(self) -> str:
        return "\n".join(self.lines(shutil.get_terminal_size().columns))


def as_tree(explanation: Explanation, review: str | None = None, trade: Followed | None = None) -> Node:
    """Returns the explanation as a tree: for a decision in the order in which it came about."""
    result = explanation.result
    mark = _MARKS["verified" if explanation.intact else "differs"]
    where = f"{result.symbol}  slot {instant(result.slot)}  {_hash(result.content_hash)} {mark}"
    head = f"{_kind_and_ids(result)}  {where}"
    if result.kind == DECISION and explanation.find(CONTEXT) is not None:
        children = _stages(explanation)
    else:
        children = (*_details(result), *(_input(link) for link in explanation.inputs))
    asked = () if review is None else (Node(f"review: {shortened(review, REASONING_SHOWN_CHARS)}"),)
    after = () if trade is None else story_nodes(trade)
    problems = [Node(f"PROBLEM: {each}") for each in explanation.problems()]
    verdict = problems or [Node("every stored input has the content that was recorded")]
    return Node(head, (*children, *asked, *after, *verdict))


def _stages(explanation: Explanation) -> tuple[Node, ...]:
    votes = [link for link in explanation.inputs if link.stored is not None and link.stored.kind == VOTE]
    body = explanation.result.body
    return (
        _named_stage("candles", explanation.find("candles"), _candles(explanation.find(CONTEXT))),
        _named_stage("indicators", explanation.find(TECHNICAL)),
        _named_stage("regime", explanation.find(REGIME)),
        _named_stage("context, frozen", explanation.find(CONTEXT)),
        Node("Sovereign's answers", (*(_vote_node(link) for link in votes), *_absent(body))),
        Node("adjustments", tuple(_adjustments(body))),
        *arbitration_nodes(body),
        Node(f"decision: {typed(explanation.result).headline}", _decision(body)),
    )


def _named_stage(name: str, link: Link | None, details: tuple[Node, ...] | None = None) -> Node:
    if link is None:
        return Node(f"{name}: not recorded")
    below = details if details is not None else () if link.stored is None else _details(link.stored)
    rests_on = tuple(_leaf(each) for each in link.inputs) if details is None else ()
    return Node(f"{name}: {_link_text(link)}", (*below, *rests_on))


def _input(link: Link) -> Node:
    below = () if link.stored is None else _details(link.stored)
    if link.stored is not None and link.stored.inputs and not link.inputs:
        below = ()  # shown before
    return Node(f"{link.name}: {_link_text(link)}", (*below, *(_input(each) for each in link.inputs)))


def _vote_node(link: Link) -> Node:
    below = () if link.stored is None else _details(link.stored)
    return Node(_link_text(link), (*below, *(_leaf(each) for each in link.inputs or ())))


def _leaf(link: Link) -> Node:
    return Node(f"from {link.name}: {_link_text(link)}")


def _link_text(link: Link) -> str:
    stored = link.stored
    said = "" if stored is None else typed(stored).headline
    ids = "" if stored is None else f"result {stored.id}, run {stored.run_id}"
    gone = f"result {link.result_id}" if stored is None and link.result_id is not None else ""
    parts = (
        said,
        ids or gone,
        f"as of {_moment(link.as_of)}",
        f"{_hash(link.content_hash)} {_MARKS[link.check]}".strip(),
    )
    return "  ".join(part for part in parts if part)


def _details(result: ResultRecord) -> tuple[Node, ...]:
    describe: Mapping[str, Callable[[Mapping[str, Any]], Sequence[Node]]] = {
        TECHNICAL: _technical,
        REGIME: _regime,
        CONTEXT: _context,
        VOTE: _vote,
        DECISION: _whole_decision,
    }
    return tuple(describe[result.kind](result.body)) if result.kind in describe else ()


def _times(body: Mapping[str, Any]) -> Node:
    return Node(f"as of {_moment(body['as_of'])}, market time {_moment(body['market_time'])}")


def _candles(context: Link | None) -> tuple[Node, ...]:
    if context is None or context.stored is None:
        return ()
    quoted = context.stored.body["candles"]
    rows = quoted["rows"]
    if not rows:
        return (Node("none"),)
    span = f"{_instant(rows[0][0])} to {_instant(rows[-1][0])}"
    close = f"close {rows[-1][4]:g}, volume {rows[-1][5]:g}"
    text = f"the newest {len(rows)} of {quoted['timeframe']}, opened {span}; last {close}"
    return (Node(text), Node(f"market time {_moment(context.stored.body['market_time'])}"))


def _technical(body: Mapping[str, Any]) -> list[Node]:
    parts = [Node(f"{each['name']:<11}{each['points']:+7.2f}  {each['why']}") for each in body["contributions"]]
    total = Node(f"score {body['score']:+.2f} of 130: {body['direction']}, confidence {body['confidence_pct']:.1f} %")
    return [_times(body), Node(_used(body)), *parts, total]


def _used(body: Mapping[str, Any]) -> str:
    missing = f", {body['candles_missing']} missing in gaps" if body.get("candles_missing") else ""
    newest = _instant(body["newest_candle_ms"])
    return f"{body['candles_used']} candles of {body['timeframe']}{missing}, newest opened {newest}"


def _regime(body: Mapping[str, Any]) -> list[Node]:
    groups = {name: part for name, part in body["evidence"].items() if isinstance(part, Mapping)}
    # Before 0.2 the figures of all labels stood side by side.
    shown = groups or {"figures": body["evidence"]}
    parts = [Node(f"{name}: {shortened(_figures_of(part), REASONING_SHOWN_CHARS)}") for name, part in shown.items()]
    events = [Node(_event(each)) for each in body.get("events", ())]
    if body.get("events_left_out"):
        events.append(Node(f"and {body['events_left_out']} earlier events"))
    return [_times(body), Node(_used(body)), *parts, *events]


def _figures_of(part: Mapping[str, Any]) -> str:
    figures = {name: _summed(value) for name, value in part.items() if not name.endswith("_ms")}
    return ", ".join(f"{name} {_figure(value)}" for name, value in figures.items())


def _summed(value: Any) -> Any:
    """Of a table of scores the totals: `markup 0.80, markdown 0.10`."""
    if not isinstance(value, Mapping):
        return value
    totals = {name: part["score"] if isinstance(part, Mapping) else part for name, part in value.items()}
    return "(" + ", ".join(f"{name} {_figure(total)}" for name, total in totals.items()) + ")"


def _event(event: Mapping[str, Any]) -> str:
    name = event["name"].replace("_", " ")
    later = event["known_at_ms"] != event["time_ms"]
    known = f", known from {_instant(event['known_at_ms'])}" if later else ""
    return f"{name} of {_instant(event['time_ms'])} at {event['price']:g}, strength {event['strength']:.2f}{known}"


def _context(body: Mapping[str, Any]) -> list[Node]:
    return [_times(body), Node(f"configuration {_hash(body['config_hash'])}")]


def _vote(body: Mapping[str, Any]) -> list[Node]:
    cost = f"{body['tokens_in']} + {body['tokens_out']} tokens, {body['latency_ms']:.0f} ms"
    tier = f", {body['context_tier']} context" if "context_tier" in body else ""
    return [
        Node(f"risk {body['risk_score']:.2f}, stance {body['stance']}, {cost}"),
        *_trust(body),
        *(Node(_failed(each)) for each in body.get("failed_attempts", ())),
        Node(f"asked with template {body['prompt_version']}{tier}, prompt {_hash(body['prompt_hash'])}"),
        Node(f"said: {shortened(body['reasoning'], REASONING_SHOWN_CHARS)}"),
    ]


def _trust(body: Mapping[str, Any]) -> list[Node]:
    """How far the answer was believed, where that was not as it was said."""
    instead = f" in place of {body['primary_model']}" if body.get("primary_model") else ""
    why = f": {shortened(body['fallback_why'], REASONING_SHOWN_CHARS)}" if body.get("fallback_why") else ""
    fallback = [Node(f"by the fallback model {body['model']}{instead}{why}")] if body["fallback_used"] else []
    if body.get("trust_factor", 1) == 1:
        return fallback
    chain = f"{body['original_confidence']:.4g} × {body['trust_factor']:.4g} = {body['confidence']:.4g}"
    source = {"prior": "the configured factor", "learned": "learned from outcomes"}.get(body["trust_source"], "")
    reason = f", {body['degradation_reason']}" if body.get("degradation_reason") else ""
    return [*fallback, Node(f"confidence {chain} ({source}{reason})")]


def _failed(envelope: Mapping[str, Any]) -> str:
    """A call that gave no usable answer; what a model or server said in it is untrusted."""
    said = shortened(str(envelope["message"]), REASONING_SHOWN_CHARS)
    took = f"attempt {envelope['attempt']}, {envelope['elapsed_ms']:.0f} ms"
    return f"failed: {envelope['model']} ({took}): {envelope['code']}: {said}"


def _absent(body: Mapping[str, Any]) -> list[Node]:
    gone = [vote for vote in body["votes"] if "absent" in vote]
    named = [f"{vote['voter']} (run {vote['run']})" if "voter" in vote else f"run {vote['run']}" for vote in gone]
    return [Node(f"absent: {name}: {vote['absent']}") for name, vote in zip(named, gone, strict=True)]


def _adjustments(body: Mapping[str, Any]) -> list[Node]:
    mean = Node(f"mean confidence of the agreeing votes {body['original_confidence']:.4f}")
    steps = [Node(_adjustment(step)) for step in body["adjustments"]]
    return [mean, *(steps or [Node("nothing changed it")])]


def _adjustment(step: Mapping[str, Any]) -> str:
    if step.get("becomes"):
        return f"{step['step']} → {step['becomes']}, confidence {step['after']:.4f}  ({step['why']})"
    capped = ", capped" if step["before"] * step["factor"] > 1 else ""
    return f"{step['step']} × {step['factor']:.4g}: {step['before']:.4f} → {step['after']:.4f}{capped}  ({step['why']})"


def _decision(body: Mapping[str, Any]) -> tuple[Node, ...]:
    agreement = "no signal takes a side" if body["agreement"] is None else f"agreement {body['agreement']:.0%}"
    nodes = [
        _times(body),
        Node(f"confidence {body['confidence']:.4f}, risk score {body['risk_score']:.2f}, {agreement}"),
        Node(f"reasoning: {shortened(body['reasoning'], 2 * REASONING_SHOWN_CHARS)}"),
    ]
    if body["hidden_hand_warning"]:
        nodes.insert(2, Node(f"Hidden Hand warning: {body['hidden_hand_warning']}"))
    if body["degraded_inference"]:
        nodes.insert(2, Node(f"degraded: {body['degradation_reason']}"))
    return (*nodes, *refusal_nodes(body))


def _whole_decision(body: Mapping[str, Any]) -> list[Node]:
    return [*_adjustments(body), *arbitration_nodes(body), *_decision(body), *_absent(body)]


def _kind_and_ids(result: ResultRecord) -> str:
    said = typed(result).headline
    return f"{result.kind}{': ' if said else ''}{said}  (result {result.id}, run {result.run_id})"


def _hash(content_hash: str) -> str:
    return f"hash {content_hash[:HASH_SHOWN_CHARS]}"


def _figure(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else "-" if value is None else str(value)


def _moment(iso: str) -> str:
    try:
        return instant(datetime.fromisoformat(iso))
    except ValueError:
        return iso or "an unknown time"


def _instant(ms: float) -> str:
    from aaos.domain.market import iso_utc

    return iso_utc(int(ms))
