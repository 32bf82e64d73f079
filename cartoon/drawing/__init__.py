"""A network's layers to the finished picture."""
