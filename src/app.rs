//! Wiring: configuration to listeners, cluster and admin endpoint.
