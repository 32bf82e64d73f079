"""Who is let in: names, passwords, visitors, limits, connections."""
