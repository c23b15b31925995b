"""What the auditor decides: functions of records and of a given time."""
