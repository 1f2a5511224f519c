"""How sure a number is: intervals, paired tests, corrections and fits. numpy and scipy only."""
