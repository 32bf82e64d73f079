"""The doors on HTTP: the page and REST on one port."""
