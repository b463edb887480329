"""Mathematics of relation alignment."""
