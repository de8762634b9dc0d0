"""What hardy evaluate is made of."""
