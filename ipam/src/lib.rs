//! Cluster-wide allocation of addresses, pools and VNIs.
