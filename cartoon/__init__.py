"""Cartoon: portraits to cartoons, one photo or ten thousand."""

__version__ = "0.1.0"
