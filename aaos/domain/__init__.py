"""Pure: standard library, numpy and the indicator library. No I/O, no clock, no randomness."""
