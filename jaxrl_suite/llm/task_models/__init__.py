"""Small models of token tasks that come with the package: how their rows are drawn, and their weights."""
