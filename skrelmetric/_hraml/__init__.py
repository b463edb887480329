"""Heads and objective of HRAML."""
