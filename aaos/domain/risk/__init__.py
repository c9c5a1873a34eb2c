"""Risk: sizes, stops, and the seven checks without which nothing trades (SPEC 9, docs/risk.md). Pure."""
