"""What is counted and paid: tokens, prices, the bill of a call."""
