"""Programs that run the product and measure; each prints one JSON document last or writes it."""
