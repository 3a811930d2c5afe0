"""What teaching minimises."""
