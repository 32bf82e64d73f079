"""The jobs of a server: one owner each, so many drawn at a time, fair between people."""
