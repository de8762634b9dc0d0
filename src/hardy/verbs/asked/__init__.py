"""Who asks for what: from a verb's arguments to the things they name."""
