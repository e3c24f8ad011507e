"""What a conversation does: writing in order, segments, summaries, bills, second thoughts."""
