"""The meaning of words."""
