"""Bytes and pixels: what a picture file is, and how one is read and written."""
