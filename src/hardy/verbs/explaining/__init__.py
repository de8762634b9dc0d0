"""What hardy why measures beside an evaluation."""
