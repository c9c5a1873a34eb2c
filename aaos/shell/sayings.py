"""What results without a class of their own say, in a few words: risk assessments and executions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def _risk(body: Mapping[str, Any]) -> str:
    if not body["approved"]:
        return f"{body['source']}: {body['signal']} refused as {body['code']}"
    sizing = body["sizing"]
    return f"{body['source']}: {body['signal']} approved, {sizing['quantity']}, leverage {sizing['leverage']}"


def _execution(body: Mapping[str, Any]) -> str:
    if body.get("denial"):
        return f"{body['source']}: refused as {body['denial']}"
    if not body["placed"]:
        return f"{body['source']}: order {body['order']} is quarantined, nobody knows whether it was accepted"
    return f"{body['source']}: order {body['order']}, {body['side']} {body['quantity']}, {body['state']}"


SAYS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {"risk_assessment": _risk, "execution": _execution}
