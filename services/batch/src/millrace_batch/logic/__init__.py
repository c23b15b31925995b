"""What to do, decided by values: splits, the ledger of what is done, progress."""
