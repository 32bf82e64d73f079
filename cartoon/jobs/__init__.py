"""Many photos, one after another, with the failures kept apart."""
