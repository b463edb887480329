"""Training of encoders: one loop, one choreography."""
