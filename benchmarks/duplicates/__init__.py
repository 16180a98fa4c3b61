"""How many copied slides `manifest check --features` finds, what it names wrongly, and what the search of a million patches costs."""
