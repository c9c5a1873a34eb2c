"""What became of a decision, as the last branches of its explanation: risk, approval, orders, fills, position, veto."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from aaos.shell.assessments import sized, standing
from aaos.shell.figures import average, json_form, price, signed
from aaos.shell.lists import shortened
from aaos.shell.positions import HeldPosition, at_market
from aaos.shell.runs import instant
from aaos.shell.trees import Node
from aaos.shell.vetoes import became, veto_dict

if TYPE_CHECKING:
    from aaos.bootstrap import Container
    from aaos.domain.orders import Order
    from aaos.domain.positions import Fill
    from aaos.domain.vetoes import Veto
    from aaos.services.follow_trade import Step, TradeStory
WHY_SHOWN_CHARS = 300


@dataclass(frozen=True, slots=True)
class Followed:
    """A decision's story, its open position at the market's price now."""

    story: TradeStory
    held: HeldPosition | None = None

    def to_dict(self) -> dict[str, Any]:
        """Returns the JSON form."""
        story = self.story
        position = story.position if self.held is None else self.held
        return {
            "source": story.source,
            "risk": _step_dict(story.risk),
            "approval": json_form(story.approval),
            "execution": _step_dict(story.execution),
            "orders": json_form(story.orders),
            "fills": json_form(story.fills),
            "position": position.to_dict() if isinstance(position, HeldPosition) else json_form(position),
            "vetoes": [veto_dict(each) for each in story.vetoes],
        }


def followed(source: str, symbol: str, container: Container) -> Followed:
    """Returns what became of a source."""
    from aaos.services.follow_trade import TradeRecords, follow_trade

    records = TradeRecords(
        container.runs,
        container.results,
        container.risk_desk,
        container.orders,
        container.trading_books,
        container.vetoes,
    )
    story = follow_trade(source, symbol, records)
    if story.position is None or story.position.closed_at is not None:
        return Followed(story)
    return Followed(story, at_market([story.position], container)[0])


def story_nodes(found: Followed) -> tuple[Node, ...]:
    """Returns the branches that come after the decision; those that there is nothing of are left out."""
    story = found.story
    nodes = [_risk_node(story)] if story.risk.run is not None else []
    if story.approval is not None:
        given = story.approval
        what = f"{given.side} up to {price(given.quantity)} {given.symbol} × {price(given.leverage)} on {given.account}"
        nodes.append(Node(f"{standing(given)}: {what}"))
    if story.execution.run is not None:
        nodes.append(_execution_node(story.execution))
    if story.orders:
        nodes.append(Node("orders", tuple(_order_node(each, story.fills) for each in story.orders)))
    if story.position is not None:
        nodes.append(_position_node(found))
    nodes += [_veto_node(each) for each in story.vetoes]
    return tuple(nodes)


def arbitration_nodes(body: Mapping[str, Any]) -> tuple[Node, ...]:
    """Returns what was decided about a conflict: who was against it, and what the arbiter made of it."""
    against = [Node(f"against it: {_spoken(each)}") for each in body.get("conflicts", ())]
    ruling = body.get("arbitration")
    if ruling is None:
        return (Node("conflict, nobody was asked", tuple(against)),) if against else ()
    who = f"by {ruling['model']}{', fallback' if ruling['fallback_used'] else ''}" if ruling["model"] else "no ruling"
    below = [*against]
    changed = [f"{name} {ruling[key]:g}" for name, key in _CHANGES if ruling.get(key) is not None]
    below += [Node(f"changed: {', '.join(changed)}")] if changed else []
    below += [Node(f"error: {shortened(str(ruling['error']), WHY_SHOWN_CHARS)}")] if ruling.get("error") else []
    below += [Node(f"said: {shortened(ruling['reasoning'], WHY_SHOWN_CHARS)}")] if ruling.get("reasoning") else []
    return (Node(f"arbitration: {ruling['verdict']} ({who})", tuple(below)),)


def refusal_nodes(body: Mapping[str, Any]) -> tuple[Node, ...]:
    """Returns why the trade that the votes chose is not made."""
    refusal = body.get("refusal")
    if refusal is None:
        return ()
    why = shortened(str(refusal["why"]), WHY_SHOWN_CHARS)
    return (Node(f"not traded: {refusal['action']} refused as {refusal['code']}: {why}"),)


_CHANGES = (("leverage at most", "leverage"), ("size ×", "size_fraction"), ("entry at", "entry_price"))


def _spoken(opponent: Mapping[str, Any]) -> str:
    return shortened(f"{opponent['name']} says {opponent['says']} ({opponent['confidence']:.2f})", WHY_SHOWN_CHARS)


def _risk_node(story: TradeStory) -> Node:
    step = story.risk
    if step.result is None:
        return _unfinished("risk", step)
    body = step.result.body
    verdict = "approved" if body["approved"] else f"refused as {body['code']}"
    below = [Node(shortened(str(body["reason"]), WHY_SHOWN_CHARS))]
    below += [Node(sized(body["sizing"]))] if body["sizing"] else []
    below += [Node(_check(each)) for each in body["checks"]]
    return Node(f"risk: {verdict}  (result {step.result.id}, run {step.result.run_id})", tuple(below))


def _check(check: Mapping[str, Any]) -> str:
    mark = "✓" if check["passed"] else "✗"
    limit = "" if check["limit"] is None else f", limit {check['limit']}"
    figure = "no figure" if check["figure"] is None else check["figure"]
    return f"{mark} {check['name']}: {figure}{limit} ({check['unit']}): {shortened(str(check['why']), WHY_SHOWN_CHARS)}"


def _execution_node(step: Step) -> Node:
    if step.result is None:
        return _unfinished("execution", step)
    body = step.result.body
    if body.get("denial"):
        said = f"refused as {body['denial']}: {shortened(str(body.get('reason', '')), WHY_SHOWN_CHARS)}"
    else:
        said = "order placed" if body.get("placed") else "nobody knows: its order is quarantined"
    figures = [f"mid {body['mid']}"] if body.get("mid") is not None else []
    figures += [f"slippage {Decimal(body['slippage']):.4%}"] if body.get("slippage") is not None else []
    told = f", {', '.join(figures)}" if figures else ""
    return Node(f"execution: {said}{told}  (result {step.result.id}, run {step.result.run_id})")


def _unfinished(name: str, step: Step) -> Node:
    run = step.run
    if run is None:
        return Node(f"{name}: not begun")
    why = f": {shortened(run.reason, WHY_SHOWN_CHARS)}" if run.reason else ""
    return Node(f"{name}: run {run.id} is {run.state}{why}")


def _order_node(order: Order, fills: Sequence[Fill]) -> Node:
    at = order.price or order.trigger_price
    where = "" if at is None else f" at {price(at)}"
    why = f": {shortened(order.reason, WHY_SHOWN_CHARS)}" if order.reason else ""
    head = f"{order.leg}: {order.side} {price(order.quantity)} {order.type}{where}, {order.state}"
    filled = f", filled {price(order.filled)}" if order.filled else ""
    made = [each for each in fills if each.order_id == order.id]
    below = tuple(Node(f"fill {each.id}, {instant(each.filled_at)}: {_traded(each)}") for each in made)
    return Node(f"{head}{filled}{why}  (order {order.id}, {order.client_order_id})", below)


def _traded(fill: Fill) -> str:
    return f"{price(fill.quantity)} at {price(fill.price)}, fee {price(fill.fee)}"


def _position_node(found: Followed) -> Node:
    position = found.story.position
    if position is None:
        return Node("position: none")
    cost = f"fees {signed(-position.fees)}, funding {signed(position.funding)}"
    shared = "" if position.source == found.story.source else f", opened by {position.source or 'an unknown order'}"
    if found.held is None:
        closed = f"closed {instant(position.closed_at)}, net {signed(position.net)}"
        return Node(f"position {position.id}: {closed} (realised {signed(position.realised)}, {cost}){shared}")
    side = "long" if position.is_long else "short"
    size = f"{price(abs(position.quantity))} at {average(position.average_entry)}"
    held = f"{side} {size} since {instant(position.opened_at)}"
    now = found.held.why or f"now {price(found.held.mark)}, unrealised {signed(found.held.unrealised)}"
    stop = f"stop {price(position.stop_price) or 'none'}, profit at {price(position.take_profit_price) or 'nowhere'}"
    return Node(f"position {position.id}: {held}; {now}; {stop}; {cost}{shared}")


def _veto_node(veto: Veto) -> Node:
    refusal = veto.refusal
    what = f"{refusal.side} {refusal.symbol} at {price(refusal.price)}"
    returned = "" if veto.outcome is None else f", {veto.outcome.return_pct:+.2f} %"
    money = "" if veto.outcome is None else signed(veto.outcome.result_quote)
    told = f" ({money} quote)" if money else ""
    followed_up = Node(f"what became of it: {became(veto)}{returned}{told}")
    below = (Node(shortened(refusal.reason, WHY_SHOWN_CHARS)), followed_up)
    return Node(f"veto {veto.id}: {what} refused by {refusal.stage} as {refusal.code}", below)


def _step_dict(step: Step) -> dict[str, Any] | None:
    if step.run is None:
        return None
    body = None if step.result is None else step.result.body
    result_id = None if step.result is None else step.result.id
    return {"run_id": step.run.id, "state": step.run.state.value, "reason": step.run.reason, "result_id": result_id,
            "body": body}  # fmt: skip
