"""Benchmarks: how fast, how late, how flat, and where the time goes. `./run bench`; see README.md."""
