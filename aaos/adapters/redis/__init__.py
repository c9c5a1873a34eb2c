"""Streams and flags; may be wiped at any moment."""
