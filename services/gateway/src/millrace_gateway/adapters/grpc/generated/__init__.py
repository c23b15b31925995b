"""Made of `services/gateway/proto` by `make proto`; see there."""
