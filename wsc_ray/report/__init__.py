"""`report.html`: runs side by side for the people who have to judge them, in one file that needs nothing else."""
