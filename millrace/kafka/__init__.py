"""The only room that knows a Kafka client: lanes, transactions, control views, admin, the local broker."""
