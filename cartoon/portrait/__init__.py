"""One photo to one cartoon."""
