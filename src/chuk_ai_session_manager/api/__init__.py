"""Conversations in one call."""
