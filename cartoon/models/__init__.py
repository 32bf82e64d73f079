"""Networks and their weights: no style, no photo."""
