"""Photos in folders, lists of names, and pictures drawn in memory."""
