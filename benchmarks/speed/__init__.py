"""Time, memory and precision: hot paths beside floors and peers, scale, and accelerators."""
