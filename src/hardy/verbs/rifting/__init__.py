"""What hardy rift is made of."""
