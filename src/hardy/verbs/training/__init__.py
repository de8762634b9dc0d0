"""What hardy train is made of."""
