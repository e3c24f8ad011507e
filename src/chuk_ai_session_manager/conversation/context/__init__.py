"""What the next model call sees of a conversation."""
