"""Nearest neighbours: who is near whom, on the host and on devices."""
