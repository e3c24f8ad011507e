"""What a conversation is: writing, segments, summaries."""
