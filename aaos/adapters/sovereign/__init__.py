"""Sovereign over HTTP: the client, its event loop, its connections, and the dialect's models."""
