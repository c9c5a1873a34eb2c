"""Validation of regime and phase on recorded markets: `python -m bench.validation --data DIR`."""
