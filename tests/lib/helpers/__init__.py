"""What several tests share: small models, drawn data, ways to call the command."""
