"""Pictures that stay where they are until a batch asks for them."""
