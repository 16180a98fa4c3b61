"""`report.html`: results side by side, in one self-contained file, for the people who have to judge them."""
