"""The portfolio: targets, drift, and trades towards the targets. Pure."""
