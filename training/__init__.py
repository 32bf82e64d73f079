"""The workshop: makes the weights that cartoon/ ships; never imported by it."""
