"""What features are worth without a head: neighbours, a linear classifier, and how much of a site is in them."""
