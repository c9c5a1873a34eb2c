"""Sovereign over HTTP: the client, its event loop, and the dialect's models."""
