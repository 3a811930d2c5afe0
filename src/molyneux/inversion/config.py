"""The settings of inversion, readable without torch."""
