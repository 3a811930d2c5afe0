"""Photos in folders, lists of names, and images drawn in memory."""
