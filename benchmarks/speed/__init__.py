"""How fast fit, adapt and score are."""
