"""How accurate the default is: against every baseline, on users that training never saw."""
