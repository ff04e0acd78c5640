"""Speed of this package beside installed peers."""
