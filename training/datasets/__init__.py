"""The data sets that can be trained on or evaluated on, as their makers ship them."""
