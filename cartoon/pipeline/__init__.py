"""One photo to one cartoon, on networks that stay in memory."""
