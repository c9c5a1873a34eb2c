"""Execution: where an entry rests, what differs between our books and the venue's, how stops follow. Pure."""
