"""Recall: the earlier turns of a conversation that answer a question, found without a model."""
