//! What the suites share: the simulated cluster and the namespace testbed.
