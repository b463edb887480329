"""Heads, model and objective of HRAML."""
