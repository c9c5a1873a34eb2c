"""A futures venue as a pure engine: rules, books made from candles, orders, matching, money. No I/O, no clock."""
