"""What the process counts and says of itself: metrics and log lines."""
