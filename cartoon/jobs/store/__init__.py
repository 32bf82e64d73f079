"""A job on disk: what was asked, what became of it, and what can be read of both after damage."""
