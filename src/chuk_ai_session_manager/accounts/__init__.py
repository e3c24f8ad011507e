"""Token counts, prices, and the cost of calls."""
